// Package receive owns the SSH verbs: what a client may say, who may say it,
// and what it is told. A verb is a function over values: a context, a caller
// with rights, words and three streams come in, an exit code goes out. So it
// runs the same under the embedded server, under OpenSSH's forced commands and
// in a unit test.
//
// It never starts a shell, never expands a word, never opens a file by a name
// a client spelled, and never writes published state: that is asked of package
// repo, and done by serene-serve.
package receive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"serene/internal/job"
	"serene/internal/repo"
	"serene/internal/source"
	"serene/sshd"
)

// Options are what a Receiver works on. Store is needed; the rest has
// defaults or is only shown.
type Options struct {
	Store *repo.Store
	Log   *slog.Logger // default: nothing is logged

	Version    string    // of the server
	URL        string    // public base URL of what is published, without a slash at its end
	TLSCert    string    // PEM file HTTPS is served with; setup shows it where it is self-signed
	MaxPackage int64     // bytes; what Store was told, shown by hello
	Keep       repo.Keep // what gc keeps

	// UpstreamDir is where the upstream databases are followed, for status.
	UpstreamDir string

	// RateDir is where the buckets of keys with a rate are kept. Without it
	// such keys are refused.
	RateDir string

	// AuthorizedKeys is the file that says who may log in. Without it no verb
	// shows or changes it.
	AuthorizedKeys string

	// KeysChanged, where not nil, is told once AuthorizedKeys was changed.
	KeysChanged func()

	// PartialDir is where uploads by scp and sftp are written until they are
	// whole, on the file system of the state. Without it there are none.
	PartialDir string

	// What the verbs about builds need. Without Queue they say that there is
	// no job queue here.
	Queue    func() (*job.Client, error)
	Builds   *job.Dir
	AUR      *source.AUR
	GitAllow source.Allow // URLs that build --git takes besides https and ssh

	// PublishWait is how long a change is waited for once it is accepted.
	// Default 30 s.
	PublishWait time.Duration

	// ProgressEvery is the time between two progress lines. Default 3 s.
	ProgressEvery time.Duration
}

const (
	defaultPublishWait   = 30 * time.Second
	defaultProgressEvery = 3 * time.Second
)

// Receiver runs verbs. It is safe for concurrent use.
type Receiver struct {
	Options
}

// New returns a Receiver for o.
func New(o Options) *Receiver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.PublishWait <= 0 {
		o.PublishWait = defaultPublishWait
	}
	if o.ProgressEvery <= 0 {
		o.ProgressEvery = defaultProgressEvery
	}
	return &Receiver{o}
}

// Caller is who runs a verb.
type Caller struct {
	Key     string // fingerprint, "SHA256:…"
	Comment string // of its line in authorized_keys
	Remote  string // address it comes from
	Rights  Rights
}

// name is how a person knows the caller.
func (c Caller) name() string {
	if c.Comment != "" {
		return c.Comment
	}
	return c.Key
}

// Streams are a verb's three. Out is data, Err is for people.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// call is one verb being run.
type call struct {
	*Receiver
	by    Caller
	verb  *verb
	flags flags
	args  []string
	in    io.Reader
	out   *bufio.Writer
	raw   io.Writer // what out writes to, for protocols
	err   io.Writer
	log   *slog.Logger

	// subject is the operand an error is about.
	subject string
}

// RunLine is Run for a command line as SSH carries it: words are split as a
// POSIX shell would, nothing is expanded.
func (r *Receiver) RunLine(ctx context.Context, by Caller, line string, s Streams) int {
	argv, err := sshd.SplitWords(line)
	if err != nil {
		fmt.Fprintln(s.Err, oneLine("serene: "+err.Error()))
		return exitUsage
	}
	return r.Run(ctx, by, argv, s)
}

// Run runs the verb that argv begins with (none is help) and returns its exit
// code. A panic is exit code 7 and a logged stack. ctx ends when the client
// goes away; what it sent in part is dropped then.
func (r *Receiver) Run(ctx context.Context, by Caller, argv []string, s Streams) int {
	began := time.Now()
	c := &call{
		Receiver: r,
		by:       by,
		in:       s.In,
		out:      bufio.NewWriterSize(s.Out, 32<<10),
		raw:      s.Out,
		err:      &lockedWriter{w: s.Err},
		log:      r.Log.With("key", by.Key, "remote", by.Remote),
	}
	err := c.guarded(ctx, argv)
	if ctx.Err() != nil && internal(err) {
		err = context.Canceled // whatever broke, broke because the client went
	}
	if err != nil && !errors.As(err, new(told)) {
		c.report(err)
	}
	code := exitCode(err)
	c.log.Info("command", "verb", c.verbName(), "subject", c.subject, "code", code, "took", time.Since(began))
	return code
}

// guarded is run with all output written, where a panic is an error.
func (c *call) guarded(ctx context.Context, argv []string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic", "verb", c.verbName(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := c.run(ctx, argv); err != nil {
		c.out.Flush() // what came before the error is still worth reading
		return err
	}
	return c.out.Flush()
}

func (c *call) run(ctx context.Context, argv []string) (err error) {
	if len(argv) == 0 || argv[0] == "--help" || argv[0] == "-h" {
		argv = []string{"help"}
	}
	if c.verb, err = c.lookup(argv[0]); err != nil {
		return err
	}
	if c.verb.flags == ownWords {
		c.args = argv[1:]
	} else if c.flags, c.args, err = parseFlags(c.verb.flags+" help", argv[1:]); err != nil {
		return err
	}
	if c.flags.on("help") {
		c.args = []string{c.verb.name}
		return help(ctx, c)
	}
	if !c.may(access{}) {
		return refuse(repo.ErrDenied, "not allowed: %s", c.by.has())
	}
	if err := c.takeRate(); err != nil {
		return err
	}
	return c.verb.run(ctx, c)
}

// may asks the caller's rights about the verb being run.
func (c *call) may(a access) bool {
	a.verb = c.verb
	return c.by.Rights.allow(a)
}

func (c *call) verbName() string {
	if c.verb == nil {
		return "serene"
	}
	return c.verb.name
}

// report writes the one line that says what failed and why.
func (c *call) report(err error) {
	if internal(err) {
		c.log.Error("command failed", "verb", c.verbName(), "subject", c.subject, "err", err)
	}
	if c.subject == "" {
		c.say("%s: %s", c.verbName(), reason(err))
		return
	}
	c.say("%s %s", c.verbName(), about(c.subject, err))
}

// say writes one line for a person. A client that no longer reads it is no
// error: its exit code says the same.
func (c *call) say(format string, args ...any) {
	fmt.Fprintln(c.err, oneLine(fmt.Sprintf(format, args...)))
}

// lockedWriter lets the progress of an upload and its verb share one stream.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
