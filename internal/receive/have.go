package receive

import (
	"bufio"
	"context"
	"errors"
	"path"
	"strings"

	"serene/internal/repo"
)

// maxLine bounds a line of have's input: two paths' worth.
const maxLine = 16 << 10

// sumRow is a line of have as --json prints it.
type sumRow struct {
	SHA256   string `json:"sha256"`
	Filename string `json:"filename"`
}

// have reads lines as sha256sum prints them and repeats those that a push would
// bring something new for.
func have(ctx context.Context, c *call) error {
	if err := c.noOperands(); err != nil {
		return err
	}
	published, err := c.published()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(c.in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		sum, file, ok := cutSum(line)
		switch {
		case !ok:
			return refuse(repo.ErrContent, "line %d is not one of sha256sum's", n)
		case published.has(sum, file):
			continue
		}
		if err := c.emit(sumRow{sum, file}, line+"\n"); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return refuse(repo.ErrContent, "a line is longer than %d bytes", maxLine)
	}
	return lines.Err()
}

// cutSum splits "DIGEST  FILE", where a star may stand for the second space,
// into the digest and the file's base name.
func cutSum(line string) (sum, file string, ok bool) {
	sum, file, _ = strings.Cut(line, " ")
	if !isSHA256(sum) || len(file) < 2 || file[0] != ' ' && file[0] != '*' {
		return "", "", false
	}
	return strings.ToLower(sum), path.Base(file[1:]), true
}

// sums are the digests of package files by file name.
type sums map[string]string

// has reports whether a file is there. A signature is when its package is:
// neither is ever replaced, so there is nothing to push.
func (s sums) has(sum, file string) bool {
	if pkg, ok := strings.CutSuffix(file, ".sig"); ok {
		return s[pkg] != ""
	}
	return s[file] == sum
}

// published collects what a push to the repository meant would find there,
// debug packages included.
func (c *call) published() (sums, error) {
	spec, err := c.source()
	if err != nil {
		return nil, err
	}
	all := make(sums)
	family := []repo.Spec{spec}
	if debug, ok := c.Store.Spec(spec.Name + repo.DebugSuffix); ok {
		family = append(family, debug)
	}
	for _, spec := range family {
		views, err := c.viewsOf(spec)
		if err != nil {
			return nil, err
		}
		for m := range c.all(views) {
			all[m.entry.FileName] = m.entry.SHA256
		}
	}
	return all, nil
}
