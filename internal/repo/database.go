package repo

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"serene/internal/alpm"
)

// A database is kept as groups of neighbouring packages, each its own zstd
// frame in R.db and, with its file lists, in R.files; a last frame holds the
// end-of-archive. pacman reads concatenated frames as one stream, so a change
// recompresses only the groups it touches and copies the rest. Frames line up:
// group i is frame i of both files.
const (
	groupSize = 64            // packages a new group is cut to
	groupMax  = 2 * groupSize // a larger group is cut
	groupMin  = groupSize / 4 // a smaller one is joined to its neighbour
)

// group is a run of packages, byte-sorted by Dir. It is never changed.
type group struct {
	entries []*alpm.Entry
	db      []byte // zstd frame
	files   []byte // zstd frame; nil where the file lists were not loaded
	index   index
}

// database is the content of one generation. It is never changed: an edit
// makes another that shares what stayed the same.
type database struct {
	groups    []*group
	byName    map[string]*alpm.Entry
	providers map[string][]string // by what is provided, the names of packages
}

var emptyDatabase = newDatabase()

func newDatabase() *database {
	return &database{byName: make(map[string]*alpm.Entry), providers: make(map[string][]string)}
}

// list and unlist keep the indexes of a database in the making.
func (d *database) list(e *alpm.Entry) {
	d.byName[e.Name] = e
	for _, p := range e.Provides {
		name, _, _ := strings.Cut(p, "=")
		d.providers[name] = append(slices.Clone(d.providers[name]), e.Name)
	}
}

func (d *database) unlist(e *alpm.Entry) {
	delete(d.byName, e.Name)
	for _, p := range e.Provides {
		name, _, _ := strings.Cut(p, "=")
		left := slices.DeleteFunc(slices.Clone(d.providers[name]), func(n string) bool { return n == e.Name })
		if d.providers[name] = left; len(left) == 0 {
			delete(d.providers, name)
		}
	}
}

// addition is a package to put in: its entry and its %FILES% text.
type addition struct {
	entry *alpm.Entry
	files []byte
}

// edit returns d without the packages called remove and with add, which
// replace packages of the same name.
func (d *database) edit(add []addition, remove []string) (*database, error) {
	next := &database{byName: maps.Clone(d.byName), providers: maps.Clone(d.providers)}
	gone := make(map[string]bool) // by Dir
	drop := func(name string) {
		if e := next.byName[name]; e != nil {
			gone[e.Dir()] = true
			next.unlist(e)
		}
	}
	for _, name := range remove {
		drop(name)
	}
	for _, a := range add {
		drop(a.entry.Name)
		next.list(a.entry)
	}
	add = slices.SortedFunc(slices.Values(add), func(a, b addition) int {
		return cmp.Compare(a.entry.Dir(), b.entry.Dir())
	})
	var err error
	next.groups, err = d.regroup(add, gone)
	return next, err
}

// regroup walks the groups in order and rewrites those that lose a package of
// gone or gain one of add, which is sorted.
func (d *database) regroup(add []addition, gone map[string]bool) ([]*group, error) {
	var out []*group
	var carry []addition // members of a group too small to stand alone
	for i, g := range d.groups {
		n := len(add)
		if i+1 < len(d.groups) {
			next := d.groups[i+1].entries[0].Dir()
			n, _ = slices.BinarySearchFunc(add, next, func(a addition, dir string) int {
				return cmp.Compare(a.entry.Dir(), dir)
			})
		}
		if n == 0 && len(carry) == 0 && !g.touches(gone) {
			out = append(out, g)
			continue
		}
		kept, err := g.members(gone)
		if err != nil {
			return nil, err
		}
		carry = append(carry, merge(kept, add[:n])...)
		add = add[n:]
		if len(carry) < groupMin && i+1 < len(d.groups) {
			continue
		}
		if out, err = appendGroups(out, carry); err != nil {
			return nil, err
		}
		carry = nil
	}
	return appendGroups(out, merge(carry, add))
}

func (g *group) touches(gone map[string]bool) bool {
	return len(gone) > 0 && slices.ContainsFunc(g.entries, func(e *alpm.Entry) bool { return gone[e.Dir()] })
}

// members returns the packages of g that are not gone, with their file lists.
func (g *group) members(gone map[string]bool) ([]addition, error) {
	var kept []addition
	for m, err := range alpm.ReadDatabase(framed(g.files)) {
		if err != nil {
			return nil, fmt.Errorf("read a group of the files database: %w", err)
		}
		if !gone[m.Entry.Dir()] {
			kept = append(kept, addition{m.Entry, m.Files})
		}
	}
	return kept, nil
}

// framed completes one frame to a whole database stream.
func framed(frame []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(frame), bytes.NewReader(endFrame))
}

func merge(a, b []addition) []addition {
	out := make([]addition, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].entry.Dir() < b[0].entry.Dir() {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// appendGroups cuts members into groups of groupSize, or one when they are
// few enough, and appends them to out.
func appendGroups(out []*group, members []addition) ([]*group, error) {
	for len(members) > 0 {
		n := len(members)
		if n > groupMax {
			n = groupSize
		}
		g, err := newGroup(members[:n])
		if err != nil {
			return nil, err
		}
		out, members = append(out, g), members[n:]
	}
	return out, nil
}

func newGroup(members []addition) (*group, error) {
	g := new(group)
	var db, files []byte
	for _, m := range members {
		if err := m.entry.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", m.entry.Dir(), err)
		}
		g.entries = append(g.entries, m.entry)
		db = alpm.AppendMembers(db, m.entry, nil)
		files = alpm.AppendMembers(files, m.entry, m.files)
	}
	g.db, g.files = compress(db), compress(files)
	return g, nil
}

// encoder makes single frames with a checksum, well inside the window pacman
// accepts. Level 3 is the knee: more costs five times the time for a tenth.
var encoder = func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // options are constants
	}
	return e
}()

func compress(b []byte) []byte { return encoder.EncodeAll(b, nil) }

// endFrame is the last frame of every database.
var endFrame = compress(alpm.EndOfArchive())

// which of the two files of a generation.
type half int

const (
	dbHalf half = iota
	filesHalf
)

func (h half) suffix() string { return [...]string{".db", ".files"}[h] }

// frames are the bytes of one of the two files, in order.
func (d *database) frames(h half) [][]byte {
	out := make([][]byte, 0, len(d.groups)+1)
	for _, g := range d.groups {
		if h == dbHalf {
			out = append(out, g.db)
		} else {
			out = append(out, g.files)
		}
	}
	return append(out, endFrame)
}

// parseDatabase reads R.db, and R.files unless it is nil, back into groups.
// Groups of before whose frame is the same are taken over unread. Only files
// this program wrote have the framing it expects.
func parseDatabase(db, files []byte, before *database) (*database, error) {
	dbFrames, err := splitFrames(db)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	fileFrames := make([][]byte, len(dbFrames))
	if files != nil {
		if fileFrames, err = splitFrames(files); err != nil {
			return nil, fmt.Errorf("files database: %w", err)
		}
	}
	if len(fileFrames) != len(dbFrames) {
		return nil, errors.New("the two databases have different groups")
	}
	last := len(dbFrames) - 1
	if last < 0 || !bytes.Equal(dbFrames[last], endFrame) || files != nil && !bytes.Equal(fileFrames[last], endFrame) {
		return nil, errors.New("a database does not end in one end-of-archive")
	}
	known := make(map[string]*group)
	for _, g := range before.groups {
		known[string(g.db)] = g
	}
	d := newDatabase()
	for i, frame := range dbFrames[:last] {
		g := &group{db: frame, files: fileFrames[i]}
		if same := known[string(frame)]; same != nil {
			g.entries = same.entries
		} else if g.entries, err = readEntries(frame); err != nil {
			return nil, err
		}
		d.groups = append(d.groups, g)
		for _, e := range g.entries {
			d.list(e)
		}
	}
	return d, nil
}

func readEntries(frame []byte) ([]*alpm.Entry, error) {
	var out []*alpm.Entry
	for m, err := range alpm.ReadDatabase(framed(frame)) {
		if err != nil {
			return nil, fmt.Errorf("read a group of the database: %w", err)
		}
		out = append(out, m.Entry)
	}
	if len(out) == 0 {
		return nil, errors.New("a group of the database is empty")
	}
	return out, nil
}
