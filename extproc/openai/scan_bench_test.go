package openai

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// go test ./extproc/openai -run '^$' -bench . -benchtime 2s

// chatBody is a chat request of about size bytes: messages of a few hundred bytes
// to a few kilobytes, with escapes and text that is not ASCII.
func chatBody(size int) []byte {
	const paragraph = "The quick brown fox jumps over the lazy dog, and then explains why: it is a pangram, " +
		`which is to say that it uses every letter.\n\nfunc main() {\n\tfmt.Println(\"hello\")\n}\n` +
		"Ein paar Wörter mit Umlauten — and an em dash, “quotes”, 日本語 too, and an 🙂. " +
		"Mostly plain text follows, as it does in documents that people paste, logs and code alike. "
	var b strings.Builder
	b.WriteString(`{"model":"moonshotai/kimi-k2.6","stream":true,"temperature":0.7,"messages":[`)
	for i := 0; i == 0 || b.Len() < size-100; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		n := min(1+i%6, 1+(size-b.Len())/len(paragraph))
		role := [...]string{"user", "assistant"}[i%2]
		fmt.Fprintf(&b, `{"role":%q,"content":"%s"}`, role, strings.Repeat(paragraph, n))
	}
	b.WriteString(`],"tools":[],"seed":42}`)
	return []byte(b.String())
}

// manyKeys has n keys in one object below the top.
func manyKeys(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"m","deep":{`)
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	b.WriteString(`"end":0}}`)
	return []byte(b.String())
}

func inputBody(text string) []byte { return []byte(`{"model":"m","input":"` + text + `"}`) }

func BenchmarkScan(b *testing.B) {
	for _, bench := range []struct {
		name string
		body []byte
	}{
		{"chat-1KB", chatBody(1 << 10)},
		{"chat-64KB", chatBody(64 << 10)},
		{"chat-1MB", chatBody(1 << 20)},
		{"string-1MB", inputBody(strings.Repeat("plain text ", 1<<20/11))},
		{"base64-32MB", inputBody(strings.Repeat("QUJDREVG", 4<<20))},
		{"cjk-1MB", inputBody(strings.Repeat("日本語の文章", 1<<20/18))},
		{"newlines-1MB", inputBody(strings.Repeat(`\n`, 1<<19))},
		{"numbers-1MB", []byte(`{"input":[` + strings.Repeat("0.125,", 1<<20/6) + `1]}`)},
		{"keys-1e3", manyKeys(1e3)},
		{"keys-1e6", manyKeys(1e6)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(bench.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPeer is what the standard library takes for its validation alone.
func BenchmarkPeer(b *testing.B) {
	body := chatBody(1 << 20)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if !json.Valid(body) {
			b.Fatal("not valid")
		}
	}
}

// BenchmarkSplice does what an attempt needs: scan, read the filter's fields, rewrite.
func BenchmarkSplice(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprintf("chat-%dKB", size>>10), func(b *testing.B) {
			body := chatBody(size)
			var dst []byte
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				dst = splice(dst[:0], body)
			}
		})
	}
}

var upstream = []byte(`"upstream/model"`)

func splice(dst, body []byte) []byte {
	o, err := Scan(body)
	if err != nil {
		panic(err)
	}
	for _, key := range []string{"model", "model_id", "variant_id", "provider", "models", "caching", "engine"} {
		o.Get(key)
	}
	usage, _ := AskUsage(&o)
	edits := [...]Edit{
		Set("model", upstream), Remove("provider"), Remove("models"), Remove("variant_id"),
		Remove("caching"), Remove("stickyprovider"), Remove("stickyProvider"), Remove("billing_mode"), usage,
	}
	return Rewrite(dst, &o, edits[:])
}
