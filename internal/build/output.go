package build

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// output stands between a step and the log: it notices when something was last
// printed, how much there was in all, and the last error of makepkg or pacman.
type output struct {
	to io.Writer

	mu    sync.Mutex // guards what follows; the guard reads while a step writes
	last  time.Time
	total int64
	line  []byte // the beginning of the line being written
	error string // of makepkg, the last
	alpm  string // of pacman, the last
}

// lineMax is how much of a line is looked at. makepkg's own messages are short.
const lineMax = 512

func newOutput(to io.Writer) *output {
	return &output{to: to, last: time.Now()}
}

func (o *output) Write(p []byte) (int, error) {
	o.note(p)
	return o.to.Write(p)
}

func (o *output) note(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = time.Now()
	o.total += int64(len(p))
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		o.line = append(o.line, part[:min(len(part), lineMax-len(o.line))]...)
		if ended {
			o.look()
		}
		p = rest
	}
}

// look takes in a whole line.
func (o *output) look() {
	if msg, ok := bytes.CutPrefix(o.line, []byte("==> ERROR: ")); ok {
		o.error = strings.ToValidUTF8(string(msg), "?")
	} else if msg, ok := bytes.CutPrefix(o.line, []byte("error: ")); ok {
		o.alpm = strings.ToValidUTF8(string(msg), "?")
	}
	o.line = o.line[:0]
}

// seen says when something was last printed, and how much there was until then.
func (o *output) seen() (last time.Time, total int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.total
}

// touch counts as output: a new phase begins.
func (o *output) touch() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.error, o.alpm, o.line = time.Now(), "", "", o.line[:0]
}

// errors are the last ones since the last touch, "" for none.
func (o *output) errors() (makepkg, pacman string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.error, o.alpm
}
