package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A gitEntry is a file in a commit, as git ls-tree lists it.
type gitEntry struct {
	mode, object, path string
	size               int64
}

// export writes the files of a commit into dir, which it makes. It reads trees
// and blobs as data. Nothing is checked out, so neither attributes nor filters
// nor hooks nor the names of files have a say in it.
func (r *repository) export(ctx context.Context, commit, dir string) error {
	treeish := commit + ":" + r.ref.Path
	entries, err := r.list(ctx, treeish)
	if err != nil {
		return err
	}
	e, err := newExporter(dir, r.lim)
	if err != nil {
		return err
	}
	defer e.root.Close()
	return r.extract(ctx, e, entries)
}

// list reads the whole tree. A tree can name itself a billionfold in a few
// kilobytes, so git is stopped where the limit is.
func (r *repository) list(ctx context.Context, treeish string) ([]gitEntry, error) {
	if kind, err := r.git(ctx, "cat-file", "-t", treeish); err != nil || kind != "tree\n" {
		return nil, errorf(ErrNotFound, "there is no directory %s", show(r.ref.Path))
	}
	var entries []gitEntry
	err := r.pipe(ctx, "", func(out *bufio.Reader) error {
		for {
			line, err := readRecord(out, r.lim.PathLen+256)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			entry, err := parseEntry(line)
			if err != nil {
				return err
			}
			if entries = append(entries, entry); len(entries) > r.lim.Files {
				return errorf(ErrTooLarge, "more than %d files", r.lim.Files)
			}
		}
	}, "ls-tree", "-r", "-z", "--long", "--full-tree", treeish)
	return entries, err
}

// readRecord reads up to the next NUL.
func readRecord(r *bufio.Reader, most int) (string, error) {
	var b []byte
	for {
		c, err := r.ReadByte()
		switch {
		case err != nil && len(b) > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		case c == 0:
			return string(b), nil
		case len(b) == most:
			return "", errorf(ErrTooLarge, "a path of more than %d bytes", most)
		}
		b = append(b, c)
	}
}

// parseEntry takes "MODE TYPE OBJECT SIZE\tPATH" apart.
func parseEntry(line string) (gitEntry, error) {
	meta, path, _ := strings.Cut(line, "\t")
	f := strings.Fields(meta)
	if len(f) != 4 {
		return gitEntry{}, fmt.Errorf("git ls-tree: %s", show(line))
	}
	if f[0] == "160000" {
		return gitEntry{}, errorf(ErrRefused, "%s is a submodule; list it in source=() instead", show(path))
	}
	n, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil || f[1] != "blob" {
		return gitEntry{}, errorf(ErrRefused, "%s is not a file", show(path))
	}
	return gitEntry{mode: f[0], object: f[2], path: path, size: n}, nil
}

// extract has one git process give out all objects, in order.
func (r *repository) extract(ctx context.Context, e *exporter, entries []gitEntry) error {
	var objects strings.Builder
	for _, entry := range entries {
		objects.WriteString(entry.object + "\n")
	}
	return r.pipe(ctx, objects.String(), func(out *bufio.Reader) error {
		for _, entry := range entries {
			if err := extractOne(e, entry, out); err != nil {
				return err
			}
		}
		return nil
	}, "cat-file", "--batch")
}

func extractOne(e *exporter, entry gitEntry, out *bufio.Reader) error {
	want := fmt.Sprintf("%s blob %d\n", entry.object, entry.size)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(out, got); err != nil || string(got) != want {
		return fmt.Errorf("git cat-file: %s for %s", show(string(got)), show(entry.path))
	}
	var err error
	switch entry.mode {
	case "100644", "100664", "100755":
		err = e.file(entry.path, entry.mode == "100755", entry.size, out)
	case "120000":
		target := make([]byte, min(entry.size, int64(e.lim.PathLen)+1))
		if _, err = io.ReadFull(out, target); err == nil {
			err = e.link(entry.path, string(target))
		}
	default:
		err = errorf(ErrRefused, "%s has the mode %s", show(entry.path), show(entry.mode))
	}
	if err != nil {
		return err
	}
	_, err = out.Discard(1) // the line feed after each object
	return err
}

// pipe runs git, gives it input, and has read take its output. When read fails
// git is ended.
func (r *repository) pipe(ctx context.Context, input string, read func(*bufio.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := r.command(ctx, args...)
	stderr := &head{most: maxStderr}
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), io.MultiWriter(stderr, r.log)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := start(cmd); err != nil {
		return err
	}
	fault := read(bufio.NewReaderSize(stdout, 64<<10))
	outer := context.Cause(ctx)
	if fault != nil {
		cancel()
	}
	err = cmd.Wait()
	switch {
	case outer != nil:
		return outer
	case fault != nil:
		return fault
	case err != nil:
		return fmt.Errorf("git %s: %w: %s", args[0], err, lastLine(stderr.String()))
	}
	return nil
}
