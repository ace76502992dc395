"""Speed and memory: `models` beside `transformers`, `loops` of training beside a plain one."""
