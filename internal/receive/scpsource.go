package receive

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"serene/internal/repo"
)

// source sends the published files that paths name. The last part of a path
// may be a pattern, as a shell would have it.
func (s *scpSession) source(paths []string) error {
	if err := s.heard(); err != nil {
		return err
	}
	var failed error
	for _, name := range paths {
		err := s.sendAll(name)
		if errors.As(err, new(*repo.Error)) {
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
