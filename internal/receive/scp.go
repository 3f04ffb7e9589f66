package receive

import (
	"bufio"
	"context"
	"errors"
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
			s.fail("a file", refuse(repo.ErrContent, "%s", line[1:]))
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
		in.TransferError(err)
		return errors.Join(in.Close(), err)
	}
	return s.copyTo(in, size)
}

// refuse refuses a file; others may follow.
func (s *scpSession) refuse(name string, err error) error {
	s.fail(name, err)
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
