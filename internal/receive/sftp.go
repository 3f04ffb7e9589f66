package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime/debug"

	gosftp "github.com/pkg/sftp"

	"serene/internal/repo"
)

// RunSFTP serves the SFTP protocol on the streams until the client is done,
// and returns the exit code as Run does.
func (r *Receiver) RunSFTP(ctx context.Context, by Caller, s Streams) int {
	return r.Run(ctx, by, []string{"internal-sftp"}, s)
}

// sftp is a session of the SFTP protocol.
func sftp(ctx context.Context, c *call) error {
	t := c.newTransfer(ctx)
	defer t.abort()
	files := sftpFiles{t}
	in := &ending{r: c.in}
	server := gosftp.NewRequestServer(newLockstep(in, t.protocol), gosftp.Handlers{
		FileGet: files, FilePut: files, FileCmd: files, FileList: files,
	})
	// Serve returns when every request has been answered and every file is
	// closed, so nothing runs beside what follows.
	err := server.Serve()
	switch {
	case len(t.failed) > 0 || in.err == io.EOF:
		return t.end()
	case in.err != nil:
		return context.Canceled // the connection broke
	}
	return refuse(repo.ErrUsage, "not the SFTP protocol: %v", err)
}

// ending keeps how a stream ended. What the library says of it depends on which
// files are open then.
type ending struct {
	r   io.Reader
	err error
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if err != nil {
		e.err = err
	}
	return n, err
}

// sftpFiles answers what the protocol asks. The library calls it from
// goroutines of its own, where a panic would end the process.
type sftpFiles struct{ *transfer }

// statusError is an error as the protocol has it: a code, and a text that some
// clients show.
type statusError struct {
	code error
	text string
}

func (e statusError) Error() string { return e.text }
func (e statusError) Unwrap() error { return e.code }

func asStatus(err error) error {
	code := gosftp.ErrSSHFxFailure
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.Is(err, repo.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = gosftp.ErrSSHFxNoSuchFile
	case errors.Is(err, repo.ErrDenied):
		code = gosftp.ErrSSHFxPermissionDenied
	}
	return statusError{code, oneLine(reason(err))}
}

// survive makes a panic an error.
func (s sftpFiles) survive(err *error) {
	if p := recover(); p != nil {
		s.log.Error("panic", "verb", "sftp", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = asStatus(fmt.Errorf("panic: %v", p))
	}
}

// Filewrite opens a file to be sent.
func (s sftpFiles) Filewrite(r *gosftp.Request) (_ io.WriterAt, err error) {
	defer s.survive(&err)
	p, err := parseTarget(r.Filepath)
	var in *incoming
	if err == nil {
		in, err = s.receive(p, !r.Pflags().Trunc)
	}
	if err != nil {
		s.fail(path.Base(r.Filepath), err)
		return nil, asStatus(err)
	}
	return sftpFile{s, in}, nil
}

// sftpFile is a file being sent, and answers in the protocol's errors.
type sftpFile struct {
	files sftpFiles
	*incoming
}

func (f sftpFile) WriteAt(b []byte, off int64) (n int, err error) {
	defer f.files.survive(&err)
	n, err = f.incoming.WriteAt(b, off)
	return n, asStatus(err)
}

func (f sftpFile) Close() (err error) {
	defer f.files.survive(&err)
	return asStatus(f.incoming.Close())
}

// Fileread opens a published file.
func (s sftpFiles) Fileread(r *gosftp.Request) (_ io.ReaderAt, err error) {
	defer s.survive(&err)
	p, err := parsePlace(r.Filepath)
	if err != nil {
		return nil, asStatus(err)
	}
	f, err := s.fetch(p)
	if err != nil {
		return nil, asStatus(err)
	}
	if err := s.handle(); err != nil {
		f.Close()
		return nil, asStatus(err)
	}
	return sftpReader{f, s.transfer}, nil
}

type sftpReader struct {
	*os.File
	t *transfer
}

func (r sftpReader) Close() error {
	r.t.open--
	return r.File.Close()
}

// Filecmd changes nothing but what the caller has unfinished. Times and modes
// are taken for set: clients ask for them after an upload.
func (s sftpFiles) Filecmd(r *gosftp.Request) (err error) {
	defer s.survive(&err)
	switch r.Method {
	case "Setstat":
		return nil
	case "Remove":
		return asStatus(s.removePartial(r.Filepath))
	}
	return statusError{gosftp.ErrSSHFxOpUnsupported, "only put, reput, get, ls and rm of what is unfinished"}
}

func (t *transfer) removePartial(name string) error {
	p, err := parsePlace(name)
	if err != nil {
		return err
	}
	if p.file == "" || p.arch != "" {
		return refuse(repo.ErrDenied, "ssh HOST remove NAME takes packages out")
	}
	target, err := t.destination(p)
	if err != nil {
		return err
	}
	delete(t.failed, p.file)
	return t.partials().remove(target, p.file)
}

// Filelist lists a directory, or describes one thing.
func (s sftpFiles) Filelist(r *gosftp.Request) (_ gosftp.ListerAt, err error) {
	defer s.survive(&err)
	p, err := parsePlace(r.Filepath)
	if err != nil {
		return nil, asStatus(err)
	}
	switch r.Method {
	case "List":
		names, err := s.names(p)
		if err == nil {
			err = s.handle()
		}
		if err != nil {
			return nil, asStatus(err)
		}
		return &sftpListing{s, r.Filepath, names, true}, nil
	case "Stat":
		if _, err := s.stat(p); err != nil {
			return nil, asStatus(err)
		}
		return &sftpListing{s, path.Dir(path.Clean("/" + r.Filepath)), []string{path.Base(r.Filepath)}, false}, nil
	}
	return nil, statusError{gosftp.ErrSSHFxOpUnsupported, "there are no links"}
}

// sftpListing describes the names in a directory as they are asked for.
type sftpListing struct {
	files  sftpFiles
	dir    string
	names  []string
	counts bool // as a handle
}

func (l *sftpListing) ListAt(infos []os.FileInfo, offset int64) (n int, err error) {
	defer l.files.survive(&err)
	if offset >= int64(len(l.names)) {
		return 0, io.EOF
	}
	for _, name := range l.names[offset:] {
		if n == len(infos) {
			return n, nil
		}
		infos[n] = l.describe(name)
		n++
	}
	return n, io.EOF
}

// describe describes one name; one that went away meanwhile has no size.
func (l *sftpListing) describe(name string) os.FileInfo {
	p, err := parsePlace(path.Join(l.dir, name))
	if err == nil {
		if found, err := l.files.stat(p); err == nil {
			found.name = name
			return found
		}
	}
	return node{name: name, mode: 0o644}
}

func (l *sftpListing) Close() error {
	if l.counts {
		l.files.open--
	}
	return nil
}
