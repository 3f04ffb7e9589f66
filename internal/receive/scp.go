package receive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"serene/internal/repo"
)

// maxSCPLine bounds a line of the protocol: a mode, a size and a file name.
const maxSCPLine = 4096

// scp is a session of the protocol of scp -O, which has no specification but
// OpenSSH's scp.c. The sender sends lines, "C0644 SIZE NAME" before a file's
// bytes and a zero byte; the receiver answers each with a zero byte, or 1 and a
// line that says what failed. 2 in place of 1 ends the session.
func scp(ctx context.Context, c *call) error {
	mode, paths, err := scpWords(c.args)
	if err != nil {
		return err
	}
	t := c.newTransfer(ctx)
	defer t.abort()
	t.quiet = true
	s := &scpSession{t, bufio.NewReaderSize(c.in, 32<<10)}
	if mode == 'f' {
		return s.source(paths)
	}
	if len(paths) != 1 {
		return refuse(repo.ErrUsage, "one directory to put files into, not %d", len(paths))
	}
	if err := s.sink(paths[0]); err != nil {
		return err
	}
	return t.end()
}

// scpWords reads what scp asks its other end to run: 't' to take files or 'f'
// to send them, and paths.
func scpWords(words []string) (mode byte, paths []string, err error) {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		word := words[0]
		words = words[1:]
		if word == "--" {
			break
		}
		for _, letter := range word[1:] {
			switch {
			case letter == 't' || letter == 'f':
				mode = byte(letter)
			case !strings.ContainsRune("rpdvq", letter):
				return 0, nil, refuse(repo.ErrUsage, "unknown flag -%c", letter)
			}
		}
	}
	if mode == 0 || len(words) == 0 {
		return 0, nil, refuse(repo.ErrUsage, "this is for scp to say: scp -O FILE… HOST:/REPO/")
	}
	return mode, words, nil
}

type scpSession struct {
	*transfer
	r *bufio.Reader
}

// sink takes files until the client is done.
func (s *scpSession) sink(to string) error {
	if err := s.answer("", nil); err != nil {
		return err
	}
	for {
		line, err := s.line()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch line[0] {
		case 'C':
			err = s.take(to, line[1:])
		case 'T', 'E': // times; the end of a directory
			err = s.answer("", nil)
		case 1, 2: // the client failed to read a file, and has said so there
			s.failed["a file"] = refuse(repo.ErrContent, "%s", line[1:])
		case 'D':
			err = refuse(repo.ErrUsage, "a directory: send the files in it")
		default:
			err = refuse(repo.ErrUsage, "not the protocol of scp -O")
		}
		if err != nil {
			return s.fatal(err)
		}
	}
}

// line reads one line, which is not empty.
func (s *scpSession) line() (string, error) {
	var b strings.Builder
	for {
		c, err := s.r.ReadByte()
		switch {
		case err == io.EOF && b.Len() > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		case c == '\n' && b.Len() > 0:
			return b.String(), nil
		case c == '\n' || b.Len() >= maxSCPLine:
			return "", refuse(repo.ErrUsage, "not the protocol of scp -O")
		}
		b.WriteByte(c)
	}
}

// answer tells the other end to go on with what concerns name, or what failed.
func (s *scpSession) answer(name string, failed error) error {
	text := "\x00"
	if failed != nil {
		text = "\x01scp: " + oneLine(about(name, failed)) + "\n"
	}
	_, err := io.WriteString(s.protocol, text)
	return err
}

// fatal ends a session that cannot go on.
func (s *scpSession) fatal(err error) error {
	if internal(err) {
		return err
	}
	// Who does not read this any more is gone.
	_, _ = io.WriteString(s.protocol, "\x02scp: "+oneLine(reason(err))+"\n")
	return told{err}
}

// take takes one file, announced as "0644 SIZE NAME".
func (s *scpSession) take(to, announced string) error {
	size, name, err := parseSCPFile(announced)
	if err != nil {
		return err
	}
	target := to
	if !isPackageFile(path.Base(to)) {
		target = path.Join("/", to, name)
	}
	p, err := parseTarget(target)
	if err != nil {
		return s.refuse(name, err)
	}
	in, err := s.receive(p, false)
	if err == nil {
		if err = in.mayWrite(0, size); err != nil {
			in.broke(err)
			in.Close()
		}
	}
	if err != nil {
		return s.refuse(name, err)
	}
	if err := s.answer("", nil); err != nil {
		return err
	}
	return s.copyTo(in, size)
}

// refuse refuses a file; others may follow.
func (s *scpSession) refuse(name string, err error) error {
	s.failed[name] = err
	return s.answer(name, err)
}

// parseSCPFile reads "MODE SIZE NAME". The name stands for a file in the
// directory that the client named, whatever it says.
func parseSCPFile(line string) (size int64, name string, err error) {
	part := strings.SplitN(line, " ", 3)
	if len(part) == 3 {
		size, err = strconv.ParseInt(part[1], 10, 64)
		name = part[2]
	}
	if len(part) != 3 || err != nil || size < 0 || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return 0, "", refuse(repo.ErrUsage, "not the protocol of scp -O")
	}
	return size, name, nil
}

// copyTo reads the bytes of a file and whether the sender could read them all,
// and answers with what became of it.
func (s *scpSession) copyTo(in *incoming, size int64) error {
	n, err := io.Copy(io.NewOffsetWriter(in, 0), io.LimitReader(s.r, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	var end byte
	if err == nil {
		end, err = s.r.ReadByte()
	}
	if err != nil {
		in.TransferError(err)
		return errors.Join(in.Close(), told{refuse(repo.ErrContent, "cut off")})
	}
	if end != 0 {
		why, _ := s.line()
		in.broke(refuse(repo.ErrContent, "%s", strings.TrimPrefix(why, "scp: ")))
	}
	return s.answer(in.file, in.Close())
}

// source sends the published files that paths name. The last part of a path
// may be a pattern, as a shell would have it.
func (s *scpSession) source(paths []string) error {
	if err := s.heard(); err != nil {
		return err
	}
	var failed error
	for _, name := range paths {
		err := s.sendAll(name)
		if errors.As(err, new(*refusal)) {
			failed = told{err}
			err = s.answer(name, err)
		}
		if err != nil {
			return err
		}
	}
	return failed
}

func (s *scpSession) sendAll(name string) error {
	places, err := s.glob(name)
	if err != nil {
		return err
	}
	for _, p := range places {
		if err := s.send(p); err != nil {
			return err
		}
	}
	return nil
}

// heard waits for the receiver to say that it goes on.
func (s *scpSession) heard() error {
	c, err := s.r.ReadByte()
	if err != nil {
		return err
	}
	if c == 0 {
		return nil
	}
	_, err = s.line() // what failed there, the receiver has said there
	return errors.Join(err, told{fmt.Errorf("%w: the receiver failed", errFailed)})
}

func (s *scpSession) send(p place) error {
	f, err := s.fetch(p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.protocol, "C0644 %d %s\n", info.Size(), p.file); err != nil {
		return err
	}
	if err := s.heard(); err != nil {
		return err
	}
	if _, err := io.Copy(s.protocol, f); err != nil {
		return err
	}
	if err := s.answer("", nil); err != nil {
		return err
	}
	return s.heard()
}

// glob returns the published files that a path means.
func (s *scpSession) glob(name string) ([]place, error) {
	p, err := parsePlace(name)
	if err != nil {
		return nil, err
	}
	if !strings.ContainsAny(p.file, `*?[\`) {
		if p.arch == "" {
			return nil, errNoFile
		}
		return []place{p}, nil
	}
	names, err := s.names(place{repo: p.repo, arch: p.arch})
	if err != nil {
		return nil, err
	}
	var found []place
	for _, file := range names {
		if ok, err := path.Match(p.file, file); ok && err == nil {
			found = append(found, place{p.repo, p.arch, file})
		}
	}
	if found == nil {
		return nil, errNoFile
	}
	return found, nil
}
