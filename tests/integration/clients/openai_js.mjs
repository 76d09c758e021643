// What the official JavaScript client gets from the endpoint in OPENAI_BASE_URL; one JSON object on the last line.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Tell me about the dog" }];
// The penalty is for guided decoding: a small model would choose white space, which JSON allows anywhere, for ever.
const guided = { max_tokens: 100, frequency_penalty: 2 };
const asked = { model: "support@prod", messages, temperature: 0, max_tokens: 24 };
const tools = [{
  type: "function",
  function: {
    name: "pick",
    description: "Choose a colour.",
    strict: true,
    parameters: { type: "object", properties: { colour: { enum: ["red", "blue"] } }, required: ["colour"], additionalProperties: false },
  },
}];
const said = {};

const { data, response } = await client.chat.completions.create(asked).withResponse();
said.chat = { text: data.choices[0].message.content, model: data.model, header: response.headers.get("x-ratchet-model"), usage: data.usage };

let streamed = "", usage = null, finish = null;
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
  usage = chunk.usage ?? usage;
}
said.stream = { text: streamed, usage, finish };

const completion = await client.completions.create({ model: "support@v2", prompt: "The dog", temperature: 0, max_tokens: 8, logprobs: 1 });
said.completion = { text: completion.choices[0].text, model: completion.model, logprobs: completion.choices[0].logprobs.token_logprobs };

const call = await client.chat.completions.create({ ...asked, ...guided, tools, tool_choice: { type: "function", function: { name: "pick" } } });
said.tool = call.choices[0].message.tool_calls[0].function;

const structured = await client.chat.completions.create({
  ...asked, ...guided,
  response_format: { type: "json_schema", json_schema: { name: "colour", schema: tools[0].function.parameters, strict: true } },
});
said.structured = JSON.parse(structured.choices[0].message.content);

said.models = [];
for await (const model of client.models.list()) said.models.push(model.id);

async function problem(act) {
  try {
    await act();
  } catch (error) {
    return { kind: [error.constructor.name], status: error.status, param: error.param ?? null, message: error.message };
  }
  return null;
}
said.unknown = await problem(() => client.chat.completions.create({ ...asked, model: "nobody" }));
said.bad = await problem(() => client.chat.completions.create({ ...asked, temperature: -1 }));
said.wrong_key = await problem(() => new OpenAI({ apiKey: "wrong", maxRetries: 0 }).chat.completions.create(asked));

console.log(JSON.stringify(said));
