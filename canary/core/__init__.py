"""The rules of progressive delivery as pure functions over values: no await, no clock, no logging, no client."""
