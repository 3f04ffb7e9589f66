package receive

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"serene/internal/alpm"
	"serene/internal/repo"
)

const (
	// maxHandles bounds the files and directories a session has open at a time.
	maxHandles = 64

	// maxFailed bounds the refused files that a session can make good.
	maxFailed = 256
)

// transfer is one session of scp or sftp. Each file is checked when it is
// closed; all of them are one transaction, which is submitted when the session
// ends: in good order, and with every file good. Published files can be read.
//
// Its methods are called one at a time, but for those that say otherwise.
type transfer struct {
	*call
	ctx      context.Context // of the session: the library calls without one
	protocol io.Writer       // where the client's program reads

	push, pull, list *call // ask what the caller may do

	upload *upload          // nil until a file is sent
	taken  map[string]int64 // files in the transaction, and their sizes
	failed map[string]error // files that were refused, and not sent again since
	open   int              // handles
	reads  bool             // a file is read while it arrives
	quiet  bool             // the client's program shows what it is told
}

// newTransfer makes the session of a client's program: its stdout is the
// protocol, so receipts go where people look.
func (c *call) newTransfer(ctx context.Context) *transfer {
	t := &transfer{
		call: c, ctx: ctx, protocol: c.raw,
		push: c.as("push"), pull: c.as("pull"), list: c.as("list"),
		taken: make(map[string]int64), failed: make(map[string]error),
	}
	c.out = bufio.NewWriter(c.err)
	if c.PartialDir != "" && t.push.may(access{}) {
		if err := c.partials().sweep(time.Now()); err != nil {
			c.log.Warn("not swept", "err", err)
		}
	}
	return t
}

// as is the call asking its rights as verb.
func (c *call) as(verb string) *call {
	other := *c
	other.verb = theVerb(verb)
	return &other
}

// end submits what was sent. A session that sent anything bad publishes
// nothing.
func (t *transfer) end() error {
	if len(t.failed) > 0 {
		return t.nothing()
	}
	if t.upload == nil {
		return nil
	}
	for file := range t.taken {
		pkg, ok := strings.CutSuffix(file, ".sig")
		if _, there := t.taken[pkg]; ok && !there {
			return refuse(repo.ErrContent, "%s came without its package", file)
		}
	}
	return t.submit(t.ctx, t.upload.tx)
}

// nothing is the error of a session with files that were refused.
func (t *transfer) nothing() error {
	var names []string
	for name := range t.failed {
		names = append(names, name)
	}
	slices.Sort(names)
	first := t.failed[names[0]]
	if len(t.taken) == 0 {
		return told{first}
	}
	return refuse(classOf(first), "nothing is published, since %s was refused", strings.Join(names, ", "))
}

// abort forgets what was taken and not submitted.
func (t *transfer) abort() {
	if t.upload != nil {
		if err := t.upload.tx.Abort(); err != nil {
			t.log.Warn("abort", "err", err)
		}
	}
}

// fail notes that a file was refused, and tells the person why: sftp shows no
// more than that something failed.
func (t *transfer) fail(file string, err error) {
	if _, known := t.failed[file]; !known && len(t.failed) >= maxFailed {
		file = "and more" // no name that can be sent again
	}
	t.failed[file] = err
	if internal(err) && t.ctx.Err() == nil {
		t.log.Error("transfer failed", "verb", t.verbName(), "subject", file, "err", err)
	}
	if !t.quiet {
		t.say("%s %s", t.verbName(), about(file, err))
	}
}

// about says what failed with a subject, which the reason may name as well.
func about(subject string, err error) string {
	return subject + ": " + strings.TrimPrefix(reason(err), subject+": ")
}

// told is an error that the person knows of.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

// handle counts a file or directory that is opened.
func (t *transfer) handle() error {
	if t.open >= maxHandles {
		return refuse(repo.ErrBusy, "%d files are open already", maxHandles)
	}
	t.open++
	return nil
}

// receive begins to take the file that a client puts at p. resume goes on
// with what came of it before.
func (t *transfer) receive(p place, resume bool) (*incoming, error) {
	target, err := t.destination(p)
	if err != nil {
		return nil, err
	}
	if err := t.begin(target, p.file); err != nil {
		return nil, err
	}
	if err := t.handle(); err != nil {
		return nil, err
	}
	f, err := t.partials().open(target, p.file, resume)
	if err == nil {
		if err = t.Store.Room(f); err != nil {
			f.Close()
		}
	}
	if err != nil {
		t.open--
		return nil, err
	}
	delete(t.failed, p.file)
	return &incoming{transfer: t, file: p.file, f: f, limit: t.limit(p.file), along: t.readAlong(p.file, f)}, nil
}

// destination is the repository of a path that files can be put at.
func (t *transfer) destination(p place) (string, error) {
	target := p.repo
	if target == "" {
		target = t.Store.Default().Name
	}
	if !t.push.may(access{repo: target}) {
		return "", refuse(repo.ErrDenied, "not allowed in %s: %s", target, t.by.has())
	}
	return target, nil
}

// begin makes file part of the session's transaction, and checks what its name
// alone tells.
func (t *transfer) begin(target, file string) error {
	name, err := alpm.ParseFileName(strings.TrimSuffix(file, ".sig"))
	if err != nil {
		return err
	}
	if t.upload == nil {
		if t.upload, err = t.newUpload(target); err != nil {
			return err
		}
	}
	if t.upload.repo != target {
		return refuse(repo.ErrUsage, "one repository a session: this one is for %s", t.upload.repo)
	}
	if len(t.taken) >= maxMembers {
		return refuse(repo.ErrTooLarge, "more than %d files in a session", maxMembers)
	}
	if _, ok := t.taken[file]; ok {
		return refuse(repo.ErrConflict, "sent in this session already")
	}
	return t.upload.mayName(name.Name)
}

func (t *transfer) newUpload(target string) (*upload, error) {
	by := repo.Actor{Key: t.by.Key, Comment: t.by.Comment, Verb: t.verb.name}
	tx, err := t.Store.Begin(by, repo.TxOptions{Repo: target})
	if err != nil {
		return nil, err
	}
	return &upload{call: t.push, repo: target, tx: tx}, nil
}

// limit is the most bytes file may have, 0 where there is no limit.
func (t *transfer) limit(file string) int64 {
	const signature = 16 << 10 // what pacman takes
	if strings.HasSuffix(file, ".sig") {
		return signature
	}
	limit := t.by.Rights.MaxSize
	if most := t.MaxPackage; most > 0 && (limit == 0 || most < limit) {
		limit = most
	}
	return limit
}

// cutOff reports whether err says that a package ends too early: a client that
// was interrupted may close its file as if it were done.
func cutOff(err error) bool {
	var fault *alpm.Fault
	return errors.As(err, &fault) && (fault.Kind == alpm.KindCompressionEnd || fault.Kind == alpm.KindTarEnd)
}
