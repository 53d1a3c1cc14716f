// Package extproc answers Envoy's external-processing calls. For each request it
// reads headers and body once, lets policy decide, and hands Envoy everything that
// carrying the decision out takes: the first attempt's body and headers, the chain
// and the quote as dynamic metadata. Then it closes the stream; nothing of the
// request stays here.
//
// server.go receives and sends, session.go turns messages into messages, and the
// rest are values.
package extproc
