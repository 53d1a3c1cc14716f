package names

// The journal is a file to which Envoy writes the ends that it also reports over
// gRPC: one JSON object a line, strings, numbers and booleans by these keys. What is
// not known is left out. LineKind says what the rest is about.
const (
	LineKind  = "k"
	LineID    = "id"    // of the request
	LineStart = "start" // string: seconds since 1970, with a fraction

	LineMicros   = "us"    // duration in microseconds, or
	LineMillis   = "ms"    // in milliseconds
	LineFirst    = "first" // microseconds to the first byte of the answer
	LineCode     = "code"
	LineSent     = "sent"  // bytes of the answer's body
	LineAttempts = "tries" // how many attempts were made
	LineCluster  = "cluster"
	LineProvider = "provider" // HeaderProvider
	LineFlags    = "flags"    // string: Envoy's short names, by commas
	LineDetails  = "details"  // response code details
	LineOutcome  = "outcome"  // HeaderOutcome

	// Of the dynamic metadata in Namespace.
	LineStreamError = KeyStreamError
	LineNoFinish    = KeyNoFinish
	LineUsage       = KeyUsage
	LineUsageOld    = KeyUsageOld

	LineRetryAfter       = "retry-after" // as headers of the same name
	LineRetryAfterMillis = "retry-after-ms"
)

// The kinds of line.
const (
	LineEnd     = "end"     // an admitted request has ended
	LineAttempt = "attempt" // an attempt has failed
	// Of these only LineID is there.
	LineGone   = "gone"   // Envoy ended a request that it had no quote for
	LineSilent = "silent" // an attempt's answer fell silent behind TimedListener
)
