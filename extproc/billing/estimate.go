package billing

// Where a provider reported no usage, tokens are estimated from bytes. The ratios
// lean towards the caller: they make less of the bytes than tokenizers do.
const (
	// PromptBytesPerToken: 4 bytes of request body are one prompt token, up to
	// MaxEstimatedPrompt tokens: a body above 128 KiB is mostly images and files,
	// whose bytes say nothing of tokens.
	PromptBytesPerToken = 4
	MaxEstimatedPrompt  = 32_768

	// StreamBytesPerToken: 250 bytes of a streamed answer are one completion
	// token, about the size of one chat chunk that carries one.
	StreamBytesPerToken = 250

	// AnswerBytesPerToken: 4 bytes of a JSON answer are one completion token,
	// after AnswerEnvelope bytes that are not text.
	AnswerBytesPerToken = 4
	AnswerEnvelope      = 400
)

func estimatedPrompt(requestBytes int64) int64 {
	return min(max(requestBytes, 0)/PromptBytesPerToken, MaxEstimatedPrompt)
}

func estimatedCompletion(answerBytes int64, stream bool) int64 {
	n := (answerBytes - AnswerEnvelope) / AnswerBytesPerToken
	if stream {
		n = answerBytes / StreamBytesPerToken
	}
	return min(max(n, 0), MaxTokens)
}
