package receive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"serene/internal/repo"
)

const (
	// maxMembers bounds the headers of a tar of packages.
	maxMembers = 20_000

	// maxPadding bounds the zeros after the end of a tar: tar fills its last
	// record, 10 KiB unless told otherwise.
	maxPadding = 16 << 20

	tarBlock = 512
)

// addTar takes a tar of packages and signatures. A client killed while sending
// looks like one that is done, so the tar must end with its end-of-archive.
func (u *upload) addTar(ctx context.Context) error {
	tail := &tail{r: u.progress}
	archive := tar.NewReader(tail)
	for range maxMembers {
		before := tail.n
		hdr, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			if !tail.endOfArchive(before) {
				return refuse(repo.ErrContent, "the tar is cut off: it has no end-of-archive")
			}
			if len(u.tx.Packages()) == 0 {
				return refuse(repo.ErrContent, "the tar has no package")
			}
			return tail.drain()
		case err != nil:
			return tarError(err)
		}
		if err := u.addMember(ctx, hdr, archive); err != nil {
			return err
		}
		// Next must find nothing of the member left but its padding, for
		// endOfArchive to count from there.
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return tarError(err)
		}
	}
	return refuse(repo.ErrContent, "more than %d members in the tar", maxMembers)
}

// tarError tells a broken tar from a broken connection.
func tarError(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader):
		return refuse(repo.ErrContent, "not a tar archive (uncompressed) of packages")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(repo.ErrContent, "the tar is cut off")
	case errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath):
		return refuse(repo.ErrContent, "the tar is not sound")
	}
	return err
}

// addMember takes one member of the tar. Errors from here on are about it.
func (u *upload) addMember(ctx context.Context, hdr *tar.Header, r io.Reader) error {
	if hdr.Typeflag == tar.TypeDir {
		return nil
	}
	u.subject = hdr.Name
	name := strings.TrimPrefix(hdr.Name, "./")
	if !fs.ValidPath(name) {
		return refuse(repo.ErrContent, "not a path inside the tar")
	}
	if hdr.Typeflag != tar.TypeReg {
		return refuse(repo.ErrContent, "not a regular file")
	}
	u.subject = path.Base(name)
	var err error
	if file, ok := strings.CutSuffix(u.subject, ".sig"); ok {
		err = u.addSignature(file, r)
	} else {
		_, err = u.add(ctx, u.subject, hdr.Size, r)
	}
	if err != nil {
		return tarError(err)
	}
	u.subject = "-"
	return nil
}

// addSignature takes the signature of the package called file. Whether the
// caller may push that package is asked when it comes.
func (u *upload) addSignature(file string, r io.Reader) error {
	return u.tx.AddSignature(file+".sig", r)
}

// tail reads r, and knows how many zero bytes stood last.
type tail struct {
	r        io.Reader
	n, zeros int64
}

func (t *tail) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.n += int64(n)
	last := n
	for last > 0 && b[last-1] == 0 {
		last--
	}
	if last > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - last)
	return n, err
}

// endOfArchive reports whether the reader of the archive, having read all of a
// member before the offset given, found two zero blocks there, not just the
// end of the stream, which it takes as well. Before them is at most the
// member's padding, which is less than a block.
func (t *tail) endOfArchive(before int64) bool {
	return t.n-before >= 2*tarBlock && t.zeros >= 2*tarBlock
}

// drain reads to the end of the stream, where only zeros may be.
func (t *tail) drain() error {
	padding := t.n + maxPadding
	before := t.zeros - t.n
	if _, err := io.Copy(io.Discard, io.LimitReader(t, maxPadding+1)); err != nil {
		return err
	}
	if t.n > padding || t.zeros-t.n != before {
		return refuse(repo.ErrContent, "there is more after the end of the tar")
	}
	return nil
}
