"""Training: one child process turns RunJobs into PEFT adapters. The only home of peft, trl and bitsandbytes."""
