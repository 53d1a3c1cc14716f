// Package openai reads and edits OpenAI-style request bodies as bytes, and writes
// error bodies in the same API's shape.
//
// Scan checks a whole body in one pass and remembers where its top-level members
// stand; Rewrite changes some of them and copies every other byte as the client
// sent it (REQ-1). Nothing here knows a model, a provider or a route.
package openai
