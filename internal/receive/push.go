package receive

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"serene/internal/alpm"
	"serene/internal/repo"
)

// push takes one package on stdin, or with "-" a tar of several.
func push(ctx context.Context, c *call) error {
	file, err := c.oneOperand("FILE")
	if err != nil {
		return err
	}
	declared := strings.ToLower(c.flags.value("sha256"))
	switch {
	case declared != "" && file == "-":
		return c.misused("--sha256 is of one FILE, not of a tar")
	case declared != "" && !isSHA256(declared):
		return refuse(repo.ErrUsage, "--sha256 takes the 64 hexadecimal digits of FILE's digest")
	}
	u, err := c.upload()
	if err != nil {
		return err
	}
	defer u.tx.Abort()
	defer u.progress.stop()
	if u.job, err = c.jobOfPush(ctx); err != nil {
		return err
	}
	if file == "-" {
		err = u.addTar(ctx)
	} else {
		err = u.addFile(ctx, file, declared)
	}
	if err != nil {
		return err
	}
	u.progress.stop()
	if c.flags.on("stage") {
		u.tx.Stage()
	}
	if u.job != nil {
		if err := u.job.commit(ctx, c, u.tx); err != nil {
			return err
		}
	}
	return c.submit(ctx, u.tx)
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// upload is a push being received.
type upload struct {
	*call
	repo     string
	tx       *repo.Tx
	job      *jobPush  // that the packages must come from, nil for none
	progress *progress // counts and reads the client's stdin
}

// upload begins a push into the repository the flags name.
func (c *call) upload() (*upload, error) {
	target, err := c.target()
	if err != nil {
		return nil, err
	}
	if err := c.mayPushFreely(); err != nil {
		return nil, err
	}
	by := repo.Actor{Key: c.by.Key, Comment: c.by.Comment, Verb: c.verb.name}
	tx, err := c.Store.Begin(by, repo.TxOptions{Repo: target, Downgrade: c.flags.on("downgrade")})
	if err != nil {
		return nil, err
	}
	return &upload{call: c, repo: target, tx: tx, progress: startProgress(c.in, c.err, c.ProgressEvery)}, nil
}

// target is the repository a change goes to. One that the caller may not
// change is refused alike whether it exists or not.
func (c *call) target() (string, error) {
	name := c.flags.value("repo")
	if name == "" {
		name = c.Store.Default().Name
	}
	if !c.may(access{repo: name}) {
		return "", refuse(repo.ErrDenied, "not allowed in %s: %s", name, c.by.has())
	}
	return name, nil
}

func (u *upload) addFile(ctx context.Context, file, declared string) error {
	if strings.HasSuffix(file, ".sig") {
		return refuse(repo.ErrUsage, "a signature travels with its package: tar c FILE FILE.sig | ssh HOST push -")
	}
	pkg, err := u.add(ctx, file, -1, u.progress)
	if err != nil {
		return err
	}
	if declared != "" && pkg.SHA256 != declared {
		return refuse(repo.ErrContent, "sha256 is %s, not %s as declared", pkg.SHA256, declared)
	}
	return nil
}

// add takes one package from r. What the file name alone tells is checked
// before the bytes are read, the rest after.
func (u *upload) add(ctx context.Context, file string, size int64, r io.Reader) (*alpm.Package, error) {
	name, err := alpm.ParseFileName(file)
	if err != nil {
		return nil, err
	}
	if err := u.mayName(name.Name); err != nil {
		return nil, err
	}
	limit := u.by.Rights.MaxSize
	if limit > 0 && size > limit {
		return nil, tooLarge(limit)
	}
	pkg, err := u.tx.Add(ctx, file, size, &capped{r, limit, limit})
	if err != nil {
		return nil, err
	}
	for _, warning := range pkg.Warnings {
		u.say("warning: %s: %s", file, warning)
	}
	return pkg, u.mayAdd(pkg)
}

// mayName asks whether there can be a package called name that the caller may
// push: name may be that of a debug package.
func (u *upload) mayName(name string) error {
	if u.may(access{name: name}) || u.may(access{name: strings.TrimSuffix(name, repo.DebugSuffix)}) {
		return nil
	}
	return u.denied(name)
}

// mayAdd asks whether the caller may push pkg, knowing all of it. A package
// for any architecture is in the database of each.
func (u *upload) mayAdd(pkg *alpm.Package) error {
	name, base := pkg.Info.Name, pkg.Info.Base
	if pkg.Info.IsDebug() {
		name = strings.TrimSuffix(name, repo.DebugSuffix)
	}
	arches := []string{pkg.Info.Arch}
	if spec, ok := u.Store.Spec(u.repo); ok && pkg.Info.Arch == "any" {
		arches = spec.Arches
	}
	for _, arch := range arches {
		if !u.may(access{repo: u.repo, arch: arch, base: base, name: name}) {
			return u.denied(pkg.Info.Name + " (base " + base + ", arch " + pkg.Info.Arch + ")")
		}
	}
	if err := u.mayClaim(pkg); err != nil || u.job == nil {
		return err
	}
	return u.job.mayAdd(u.repo, pkg)
}

// mayClaim asks whether the caller may push what takes the place of another
// package on every client: a key for some packages has no say over others.
func (u *upload) mayClaim(pkg *alpm.Package) error {
	for _, text := range pkg.Info.Replaces {
		dep, err := alpm.ParseDep(text)
		if err != nil || !u.may(access{name: dep.Name}) {
			return u.denied(text + ", which " + pkg.Info.Name + " replaces")
		}
	}
	return nil
}

// denied is the error for a package the caller may not change.
func (c *call) denied(what string) error {
	return refuse(repo.ErrDenied, "not allowed to change %s: %s", what, c.by.has())
}

func tooLarge(limit int64) error {
	return refuse(repo.ErrTooLarge, "more than the %s this key may send in a file", formatBytes(limit))
}

// capped reads at most limit bytes of r, then fails; no limit is 0.
type capped struct {
	r           io.Reader
	limit, left int64
}

func (r *capped) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.left -= int64(n)
	if r.limit > 0 && r.left < 0 {
		return 0, tooLarge(r.limit)
	}
	return n, err
}

// submit hands tx to the writer and prints what became of it.
func (c *call) submit(ctx context.Context, tx *repo.Tx) error {
	// A client that went away in the middle has not asked for what it sent.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	id, err := tx.Submit()
	if err != nil {
		return err
	}
	c.log.Info("accepted", "verb", c.verb.name, "tx", id)
	if c.flags.on("no-wait") {
		return c.emit(accepted{"accepted", id}, "accepted "+id+"\n")
	}
	return c.await(ctx, id)
}

// accepted is what a client that does not wait is told.
type accepted struct {
	Action string `json:"action"`
	Tx     string `json:"tx"`
}

// await waits until transaction id is done and prints its receipts.
func (c *call) await(ctx context.Context, id string) error {
	waiting, cancel := context.WithTimeout(ctx, c.PublishWait)
	defer cancel()
	outcome, err := c.Store.Wait(waiting, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(repo.ErrBusy, "accepted, not yet published")
	case err != nil:
		return err
	}
	if err := outcome.Err(); err != nil {
		return err
	}
	for _, receipt := range outcome.Receipts {
		if err := c.emit(receipt, receipt.String()+"\n"); err != nil {
			return err
		}
		for _, warning := range receipt.Warnings {
			c.say("warning: %s: %s", receipt.File, warning)
		}
	}
	if outcome.Stage != "" {
		return c.emitStage(outcome)
	}
	return c.emitUpkeep(outcome)
}
