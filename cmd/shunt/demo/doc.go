// Package demo fakes LLM providers: OpenAI-compatible HTTP services with set
// latency, speed, usage and faults. `shunt demo`, `make run` and the end-to-end
// tests are its users. Nothing in it thinks: an answer is a list of words.
//
// A [Provider] answers POST …/chat/completions, …/completions and …/responses
// in JSON and SSE, and GET …/models, below any base path. What it does is a
// [Behaviour], which may be changed while it serves: in-process by [Provider.Set],
// [Provider.SetFor] and [Provider.Next], from outside by its control endpoints:
//
//	GET    /_demo/behaviour            the behaviours in force
//	PUT    /_demo/behaviour            replace the general one (JSON)
//	PUT    /_demo/behaviour?model=ID   replace the one for a model id
//	DELETE /_demo/behaviour            back to the configured ones
//	POST   /_demo/script               a JSON array: one behaviour for each of the next requests
//	GET    /_demo/requests             the requests seen, oldest first
//	DELETE /_demo/requests             forget them
package demo
