package repo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"serene/internal/durable"
)

// writeGeneration makes generation gen of p out of d: both databases and both
// signatures, stamped with at, durable and read back. Nothing points at it
// yet. What an earlier attempt left under that number is replaced.
func (w *Writer) writeGeneration(p place, gen int64, d *database, at time.Time) error {
	dir := w.store.genDir(p, gen)
	aside := filepath.Join(filepath.Dir(dir), fmt.Sprintf(".aside-%d", gen))
	for _, old := range []string{aside, dir} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := durable.MkdirAll(aside, 0o770); err != nil {
		return err
	}
	if err := w.writeHalves(aside, p, d, at); err != nil {
		return err
	}
	return durable.Rename(aside, dir)
}

// writeHalves writes both databases of d and their signatures into dir.
func (w *Writer) writeHalves(dir string, p place, d *database, at time.Time) error {
	err := parallel([]half{dbHalf, filesHalf}, 2, func(h half) error {
		return w.writeHalf(filepath.Join(dir, p.repo+h.suffix()), d.frames(h), at)
	})
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// writeHalf writes one database file and its signature, and reads both back.
func (w *Writer) writeHalf(file string, frames [][]byte, at time.Time) error {
	digest := newDigest()
	for _, frame := range frames {
		digest.Write(frame)
	}
	sig, err := w.signer.sign(digest)
	if err != nil {
		return fmt.Errorf("sign %s: %w", filepath.Base(file), err)
	}
	if err := writeFrames(file, frames, at); err != nil {
		return err
	}
	if err := writeFrames(file+".sig", [][]byte{sig}, at); err != nil {
		return err
	}
	return errors.Join(readBack(file, frames), readBack(file+".sig", [][]byte{sig}))
}

func writeFrames(file string, frames [][]byte, at time.Time) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Join(frames, nil))
	err = errors.Join(err, os.Chtimes(file, at, at), durable.Sync(f), f.Close())
	return noSpace(err)
}

// readBack compares what the file holds with what was to be in it.
func readBack(file string, frames [][]byte) error {
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		if !bytes.HasPrefix(got, frame) {
			return fmt.Errorf("%s does not read back as it was written", file)
		}
		got = got[len(frame):]
	}
	if len(got) > 0 {
		return fmt.Errorf("%s is longer than it was written", file)
	}
	return nil
}

// loadGeneration reads generation gen of p whole, checking its signatures. What
// is good, but signed by a retired key, is returned with errRetiredKey.
func (w *Writer) loadGeneration(p place, gen int64) (*database, time.Time, error) {
	dir := w.store.genDir(p, gen)
	var halves [2][]byte
	var at time.Time
	var retired error
	for _, h := range []half{dbHalf, filesHalf} {
		file := filepath.Join(dir, p.repo+h.suffix())
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, at, err
		}
		sig, err := os.ReadFile(file + ".sig")
		if err != nil {
			return nil, at, err
		}
		digest := newDigest()
		digest.Write(data)
		switch err := w.verifyOwn(sig, digest); {
		case err == errRetiredKey:
			retired = err
		case err != nil:
			return nil, at, fmt.Errorf("%s: %w", file, err)
		}
		st, err := os.Stat(file)
		if err != nil {
			return nil, at, err
		}
		halves[h], at = data, st.ModTime()
	}
	d, err := parseDatabase(halves[dbHalf], halves[filesHalf], emptyDatabase)
	if err != nil {
		return nil, at, err
	}
	return d, at, retired
}

// flip makes g the current generation of p. It is already committed: should it
// fail, the next start does it.
func (w *Writer) flip(p place, g *generation) error {
	w.current[p] = g
	err := durable.Symlink(fmt.Sprintf("gen/%d", g.gen), filepath.Join(w.store.archDir(p), "current"))
	if err != nil {
		return err
	}
	w.log.Info("published", "repo", p.repo, "arch", p.arch, "gen", g.gen, "packages", len(g.db.byName))
	return nil
}
