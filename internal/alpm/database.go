package alpm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	maxDesc     = 4 << 20   // bytes of one desc member
	maxFiles    = 128 << 20 // bytes of one files member
	maxDatabase = 8 << 30   // bytes of one database, decompressed
)

// AppendMembers appends the tar members of one package to b: the directory
// NAME-VERSION/, its desc and, unless filesList is nil, its files. The bytes
// depend on the arguments only: owner 0, fixed modes, the package's build date
// as time. There is no end-of-archive, so that members of many packages can
// follow one another; [EndOfArchive] closes the whole.
func AppendMembers(b []byte, e *Entry, filesList []byte) []byte {
	out := appendWriter(b)
	t := tar.NewWriter(&out)
	dir := e.Dir() + "/"
	appendMember(t, e, dir, tar.TypeDir, nil)
	appendMember(t, e, dir+"desc", tar.TypeReg, e.AppendDesc(nil))
	if filesList != nil {
		appendMember(t, e, dir+"files", tar.TypeReg, filesList)
	}
	t.Flush()
	return out
}

// appendMember cannot fail: the writer below does not, and an Entry has no
// header field that a tar could not hold.
func appendMember(t *tar.Writer, e *Entry, name string, kind byte, data []byte) {
	h := &tar.Header{
		Name: name, Typeflag: kind, Mode: 0o644, Size: int64(len(data)),
		Uname: "root", Gname: "root", ModTime: time.Unix(e.BuildDate, 0),
	}
	if kind == tar.TypeDir {
		h.Mode = 0o755
	}
	if err := t.WriteHeader(h); err != nil {
		panic(fmt.Sprintf("alpm: write header of %q: %v", name, err))
	}
	if _, err := t.Write(data); err != nil {
		panic(fmt.Sprintf("alpm: write %q: %v", name, err))
	}
}

type appendWriter []byte

func (w *appendWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

// EndOfArchive is what must stand once, at the very end of a database: readers
// take everything behind the first one for nothing.
func EndOfArchive() []byte { return make([]byte, 1024) }

// Member is one package of a sync database.
type Member struct {
	Entry *Entry
	Files []byte // the files member for [ParseFiles], nil where there is none
}

// ReadDatabase reads a sync or files database, compressed in any way this
// package knows. It takes only databases that every pacman reads in the same
// way: each package once, its members together and none unknown, one
// end-of-archive with nothing behind it. The first error ends the sequence: a
// *Fault for content, otherwise one of r, wrapped.
func ReadDatabase(r io.Reader) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		d := &databaseReader{src: &errReader{r: r}, names: make(map[string]bool)}
		err := d.read(func(m Member) bool { return yield(m, nil) })
		if d.src.err != nil {
			err = fmt.Errorf("read database: %w", d.src.err)
		}
		if err != nil && !d.stopped {
			yield(Member{}, err)
		}
	}
}

type databaseReader struct {
	archive
	src     *errReader
	names   map[string]bool
	dir     string // of the package being collected
	cur     Member
	desc    []byte // reused from desc to desc
	stopped bool   // by the consumer
}

func (d *databaseReader) read(yield func(Member) bool) error {
	src := bufio.NewReaderSize(d.src, chunkSize)
	head, _ := src.Peek(magicLen) // a short file is judged by what it has
	d.packed = func() int64 { return math.MaxInt64 }
	d.most, d.ratio = maxDatabase, 1
	if err := d.open(src, sniff(head)); err != nil {
		return err
	}
	defer d.close()
	for {
		h, err := d.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := d.member(h, yield); err != nil || d.stopped {
			return err
		}
	}
	if err := d.emit(yield); err != nil || d.stopped {
		return err
	}
	return d.end()
}

func (d *databaseReader) member(h *tar.Header, yield func(Member) bool) error {
	dir, file, _ := strings.Cut(h.Name, "/")
	if dir != d.dir {
		if err := d.emit(yield); err != nil || d.stopped {
			return err
		}
		d.dir = dir
	}
	switch {
	case h.Typeflag == tar.TypeDir && file == "":
		return nil
	case h.Typeflag == tar.TypeReg && file == "desc" && d.cur.Entry == nil:
		return d.readDesc(h)
	case h.Typeflag == tar.TypeReg && file == "files" && d.cur.Files == nil:
		return d.readFiles(h)
	}
	return faultf(KindDatabase, h.Name, "database: unexpected member %s", show(h.Name))
}

func (d *databaseReader) readDesc(h *tar.Header) error {
	b, err := d.content(h, maxDesc, d.desc)
	if err != nil {
		return err
	}
	d.desc = b
	e, err := ParseDesc(b)
	if err != nil {
		return fmt.Errorf("%s: %w", show(h.Name), err)
	}
	if e.Dir() != d.dir {
		return faultf(KindDatabase, h.Name, "database: %s is of %s", show(h.Name), e.Dir())
	}
	d.cur.Entry = e
	return nil
}

func (d *databaseReader) readFiles(h *tar.Header) (err error) {
	d.cur.Files, err = d.content(h, maxFiles, nil)
	return err
}

// content reads the current member, into the space of scratch where it fits.
func (d *databaseReader) content(h *tar.Header, most int64, scratch []byte) ([]byte, error) {
	if h.Size > most {
		return nil, faultf(KindDatabase, h.Name, "database: %s exceeds %d bytes", show(h.Name), most)
	}
	// What a header claims is believed for small members only.
	buf := bytes.NewBuffer(slices.Grow(scratch[:0], int(min(h.Size+bytes.MinRead, 64<<10))))
	if _, err := buf.ReadFrom(d); err != nil {
		return nil, d.broken(err)
	}
	return buf.Bytes(), nil
}

// emit hands out the package collected so far.
func (d *databaseReader) emit(yield func(Member) bool) error {
	if d.dir == "" {
		return nil
	}
	m := d.cur
	if m.Entry == nil {
		return faultf(KindDatabase, d.dir, "database: %s has no desc", show(d.dir))
	}
	if d.names[m.Entry.Name] {
		return faultf(KindDatabase, d.dir, "database: %s is there twice", m.Entry.Name)
	}
	d.names[m.Entry.Name] = true
	d.dir, d.cur = "", Member{}
	d.stopped = !yield(m)
	return nil
}

// errReader remembers the error that ended r, unless that was its end.
type errReader struct {
	r   io.Reader
	err error
}

func (e *errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}
