package runner

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// logFormat is asked of Envoy: level, logger, message; one line each, with
// --log-format-escaped.
const logFormat = "%l %n %v"

const (
	maxLine       = 8 << 10 // longer lines are cut
	maxLinesASec  = 500     // below error; more are counted, not logged
	maxTail       = 8       // last words that a GaveUpError carries
	maxTailLine   = 400
	cutMark       = "…"
	bootstrapFail = "initializing config"
)

// Levels of Envoy's that slog has no name for.
const (
	levelTrace    = slog.LevelDebug - 4
	levelCritical = slog.LevelError + 4
)

var levels = map[string]slog.Level{
	"trace": levelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo,
	"warning": slog.LevelWarn, "error": slog.LevelError, "critical": levelCritical,
}

// entry is one line of Envoy's log.
type entry struct {
	level  slog.Level
	logger string // Envoy's component; "" for a line that is not in logFormat
	text   string
	quotes bool // Envoy cannot use its bootstrap, and may repeat it now
}

var unescape = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\n`, "; ", `\t`, " ")

// expected are warnings that tell an operator nothing. The signal is ours, and
// somebody else's shows in how Envoy ended. An extension that Envoy calls
// unfinished was chosen by shunt, knowingly, and is named dozens of times.
var expected = regexp.MustCompile(`^caught ENVOY_SIGTERM|marked as work-in-progress`)

// parseLine reads a line in logFormat. Anything else (the C library's last
// words, a mistake on the command line) is a warning without a logger.
func parseLine(line string) entry {
	level, rest, ok := strings.Cut(line, " ")
	lv, known := levels[level]
	if !ok || !known {
		text, _ := withoutConfig(line)
		return entry{level: slog.LevelWarn, text: text}
	}
	logger, escaped, _ := strings.Cut(rest, " ")
	text, cut := withoutConfig(unescape.Replace(escaped))
	if lv == slog.LevelWarn && expected.MatchString(text) {
		lv = slog.LevelDebug
	}
	quotes := cut || lv == levelCritical && strings.Contains(text, bootstrapFail)
	return entry{level: lv, logger: logger, text: text, quotes: quotes}
}

// withoutConfig cuts a message where Envoy begins to quote the configuration
// that it cannot read: what it quotes is all of it (SEC-2).
func withoutConfig(text string) (short string, cut bool) {
	if i := strings.Index(text, " as proto ("); i >= 0 {
		if j := strings.Index(text[i:], "): "); j >= 0 {
			return text[:i+j+2] + cutMark, true
		}
	}
	return text, false
}

var bindFailure = regexp.MustCompile(`cannot bind '([^']*)': ([A-Za-z ]+[A-Za-z])`)

// bindError is not nil if the message says that Envoy cannot listen somewhere.
func bindError(text string) *BindError {
	m := bindFailure.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	return &BindError{Address: m[1], Reason: strings.ToLower(m[2])}
}

// logPipe is the standard error of one Envoy: it turns lines into log records,
// never more of them than it can afford.
type logPipe struct {
	log    *slog.Logger
	now    func() time.Time
	onBind func(*BindError) // may be called more than once; must not block

	mu      sync.Mutex
	part    []byte // of a line that has not ended
	cut     bool   // the line is longer than part
	noRaw   bool   // raw lines repeat a bootstrap now
	second  int64
	lines   int
	dropped int
	tail    []string
}

// Write never fails and never blocks on anything but the log handler.
func (p *logPipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		end := i
		if i < 0 {
			end = len(b)
		}
		room := maxLine - len(p.part)
		p.cut = p.cut || end > room
		p.part = append(p.part, b[:min(end, room)]...)
		if i < 0 {
			break
		}
		p.flush()
		b = b[i+1:]
	}
	return n, nil
}

// close logs a last line without a newline.
func (p *logPipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
	p.reportDropped()
}

func (p *logPipe) flush() {
	line := strings.TrimRight(string(p.part), "\r\n ")
	if p.cut {
		line += cutMark
	}
	p.part, p.cut = p.part[:0], false
	if line == "" {
		return
	}
	e := parseLine(line)
	if e.logger == "" && p.noRaw {
		return
	}
	p.noRaw = p.noRaw || e.quotes
	if be := bindError(e.text); be != nil {
		p.onBind(be)
	}
	p.remember(e)
	if p.affordable(e.level) {
		p.emit(e)
	}
}

func (p *logPipe) remember(e entry) {
	if e.level < slog.LevelWarn {
		return
	}
	s := e.text
	if len(s) > maxTailLine {
		s = strings.ToValidUTF8(s[:maxTailLine], "") + cutMark
	}
	if len(p.tail) == maxTail {
		p.tail = p.tail[1:]
	}
	p.tail = append(p.tail, s)
}

func (p *logPipe) affordable(level slog.Level) bool {
	if s := p.now().Unix(); s != p.second {
		p.reportDropped()
		p.second, p.lines = s, 0
	}
	p.lines++
	if p.lines <= maxLinesASec || level >= slog.LevelError && p.lines <= 2*maxLinesASec {
		return true
	}
	p.dropped++
	return false
}

func (p *logPipe) reportDropped() {
	if p.dropped > 0 {
		p.log.Warn(fmt.Sprintf("%d log lines of Envoy's left out: more than %d in a second", p.dropped, maxLinesASec))
		p.dropped = 0
	}
}

func (p *logPipe) emit(e entry) {
	var attrs []slog.Attr
	if e.logger != "" {
		attrs = append(attrs, slog.String("envoy", e.logger))
	}
	p.log.LogAttrs(context.Background(), e.level, e.text, attrs...)
}

// lastWords are Envoy's warnings and errors so far, oldest first.
func (p *logPipe) lastWords() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.tail...)
}
