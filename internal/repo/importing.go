package repo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// Refusal is a file that an import left out, and why.
type Refusal struct {
	File string `json:"filename"`
	Why  string `json:"why"`
}

// ImportReport says what an import took.
type ImportReport struct {
	Tx      string    `json:"tx,omitempty"` // "" when there was nothing to do
	Taken   int       `json:"taken"`
	Already int       `json:"already"` // published before, with the same bytes
	Refused []Refusal `json:"refused,omitempty"`
}

// Import submits the packages in dir as one transaction for repository repo:
// each is read whole, several at once; of several versions the newest is taken.
// What does not pass is left out and reported. progress is told how many files
// are done, from one goroutine at a time. An import that was cut off does not
// read again what it had read.
func (s *Store) Import(ctx context.Context, dir, repo string, by Actor, progress func(done, total int)) (*ImportReport, error) {
	return s.takeIn(ctx, source{dir: dir}, repo, by, progress)
}

func (s *Store) takeIn(ctx context.Context, src source, repo string, by Actor, progress func(done, total int)) (*ImportReport, error) {
	files, err := packageFiles(src.dir)
	if err != nil {
		return nil, err
	}
	tx, err := s.Begin(by, TxOptions{Repo: repo})
	if err != nil {
		return nil, err
	}
	defer tx.Abort()
	im := &importer{tx: tx, src: src, report: new(ImportReport), total: len(files), progress: progress}
	if err := im.openNotes(); err != nil {
		return nil, err
	}
	defer im.notes.Close()
	err = parallel(files, runtime.GOMAXPROCS(0), func(file string) error { return im.read(ctx, file) })
	if err != nil {
		return nil, err
	}
	return im.report, im.submit()
}

type importer struct {
	tx       *Tx
	src      source
	progress func(done, total int)
	total    int

	mu     sync.Mutex // guards what follows
	done   int
	found  []*alpm.Package
	report *ImportReport
	known  map[string]*note
	notes  *os.File
}

// note remembers what was read of a file, across an import that was cut off.
type note struct {
	File    string
	Size    int64
	Time    time.Time
	Package *alpm.Package
}

// openNotes reads what an earlier import of the same directory has noted.
func (im *importer) openNotes() error {
	sum := sha256.Sum256([]byte(im.tx.req.Repo + "\x00" + im.src.dir))
	path := im.tx.store.path("imports", hex.EncodeToString(sum[:8])+".jsonl")
	if err := durable.MkdirAll(filepath.Dir(path), 0o770); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o660)
	if err != nil {
		return err
	}
	im.notes, im.known = f, make(map[string]*note)
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(in)
		if err != nil {
			return nil // what a crash cut short is read again
		}
		n := new(note)
		if json.Unmarshal(line, n) == nil && n.Package != nil {
			im.known[n.File] = n
		}
	}
}

// read takes one file into the transaction's directory. The error is ours.
func (im *importer) read(ctx context.Context, file string) error {
	p, err := im.inspect(ctx, file)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err != nil {
		im.report.Refused = append(im.report.Refused, Refusal{file, contentError(err).Error()})
	} else {
		im.found = append(im.found, p)
	}
	im.done++
	im.progress(im.done, im.total)
	return nil
}

func (im *importer) inspect(ctx context.Context, file string) (*alpm.Package, error) {
	if _, err := alpm.ParseFileName(file); err != nil {
		return nil, err
	}
	f, st, err := im.src.open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if n := im.known[file]; n != nil && n.Size == st.Size() && n.Time.Equal(st.ModTime()) {
		return n.Package, nil
	}
	if limit := im.tx.store.opt.MaxPackage; limit > 0 && st.Size() > limit {
		return nil, refuse(ErrTooLarge, "%d bytes, more than max_package = %d", st.Size(), limit)
	}
	p, err := alpm.ReadPackage(bound{ctx, f}, file, im.tx.store.opt.Limits)
	if err != nil {
		return nil, err
	}
	p.Digest = nil // what is copied later may be other bytes
	line, err := json.Marshal(note{file, st.Size(), st.ModTime(), p})
	if err != nil {
		return nil, err
	}
	_, err = im.notes.Write(append(line, '\n'))
	return p, err
}

// submit chooses what is taken, asks the rules of each, and hands it over.
func (im *importer) submit() error {
	tx, draft := im.tx, im.tx.store.publishedDraft()
	for _, p := range im.newest() {
		dec, err := draft.decide(&request{ID: tx.req.ID, Repo: tx.req.Repo, Packages: []*alpm.Package{p}})
		if err != nil {
			im.refuse(p, err)
			continue
		}
		if dec.idle() {
			im.report.Already++
			continue
		}
		if err := im.take(p.File.String()); err != nil {
			return err
		}
		draft.do(dec)
		tx.req.Packages = append(tx.req.Packages, p)
	}
	im.report.Taken = len(tx.req.Packages)
	slices.SortFunc(im.report.Refused, func(a, b Refusal) int { return strings.Compare(a.File, b.File) })
	if im.report.Taken > 0 {
		id, err := tx.Submit()
		if err != nil {
			return err
		}
		im.report.Tx = id
	}
	return os.Remove(im.notes.Name())
}

func (im *importer) refuse(p *alpm.Package, err error) {
	why := strings.TrimPrefix(err.Error(), p.File.String()+": ")
	im.report.Refused = append(im.report.Refused, Refusal{p.File.String(), why})
}

// newest keeps of each name and architecture the newest version, in the order
// of file names.
func (im *importer) newest() []*alpm.Package {
	best := make(map[string]*alpm.Package)
	for _, p := range im.found {
		other := best[p.Info.Name]
		if other == nil {
			best[p.Info.Name] = p
			continue
		}
		older := p
		if p.Info.Version.Compare(other.Info.Version) > 0 {
			best[p.Info.Name], older = p, other
		}
		im.report.Refused = append(im.report.Refused, Refusal{older.File.String(), "there is a newer version beside it"})
	}
	var all []*alpm.Package
	for _, p := range best {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *alpm.Package) int { return strings.Compare(a.File.String(), b.File.String()) })
	return all
}

// take copies the file, and its signature where there is one, into the
// transaction's directory: what is published shares no bytes with a place where
// others may write.
func (im *importer) take(file string) error {
	f, st, err := im.src.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	to := filepath.Join(im.tx.dir, file)
	if err := im.tx.store.reserve(im.tx.lock, st.Size()); err != nil {
		return err
	}
	if err := copyOpen(f, to); err != nil {
		return err
	}
	sig, err := im.signature(file + ".sig")
	if err != nil || sig == nil {
		return err
	}
	if _, err := parseSignature(sig); err != nil {
		return nil // as if it had none: the repository signs it
	}
	im.tx.signed[file] = true
	return durable.CreateFile(filepath.Join(im.tx.dir, file+".sig"), sig, 0o660)
}

// signature reads a signature of the source, nil when there is none.
func (im *importer) signature(file string) ([]byte, error) {
	f, _, err := im.src.open(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrContent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSignature+1))
}
