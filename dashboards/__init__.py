"""The browser pages: rating for product teams. The only home of gradio."""

import os

# Before anything imports gradio: it reads this once, at import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
