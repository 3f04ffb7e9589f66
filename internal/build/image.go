package build

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// DefaultBase is what the embedded Containerfile starts from.
const DefaultBase = "docker.io/library/archlinux:base-devel"

// DefaultName is the repository of the tags "candidate", "current" and
// "previous".
const DefaultName = "serene-builder"

//go:embed image
var imageFiles embed.FS

// ImageBuilder makes the image that packages are built in: aside, under a name that
// no job uses, until a package has been built in it. The one that it takes the
// place of is kept.
type ImageBuilder struct {
	Engine Engine
	Images Images
	Name   string // instead of DefaultName
	Base   string // instead of DefaultBase
	Pull   bool   // look for a newer base in its registry
	Log    *slog.Logger
}

// Ref is the reference of the image in use, for NewSandbox.
func (b *ImageBuilder) Ref() string { return b.tag("current") }

// Made returns when the image in use was made.
func (b *ImageBuilder) Made(ctx context.Context) (time.Time, error) {
	return b.Images.Made(ctx, b.Ref())
}

func (b *ImageBuilder) tag(tag string) string { return cmp.Or(b.Name, DefaultName) + ":" + tag }

// Ensure makes the image if there is none, and says which one there is.
func (b *ImageBuilder) Ensure(ctx context.Context, log io.Writer) (digest string, err error) {
	digest, err = b.Images.Digest(ctx, b.Ref())
	if errors.Is(err, ErrNoImage) {
		return b.Refresh(ctx, log)
	}
	return digest, err
}

// Refresh makes a new image, proves it, and switches to it. After an error the
// current image is the one it was before. Only one Refresh may run at a time in
// one engine.
func (b *ImageBuilder) Refresh(ctx context.Context, log io.Writer) (digest string, err error) {
	defer func() {
		// Its image stays if it has become the current one.
		err = errors.Join(err, b.Images.Untag(context.WithoutCancel(ctx), b.tag("candidate")))
	}()
	if err := b.make(ctx, log); err != nil {
		return "", err
	}
	if err := b.prove(ctx, log); err != nil {
		return "", fmt.Errorf("prove image: %w", err)
	}
	digest, err = b.Images.Digest(ctx, b.tag("candidate"))
	if err != nil {
		return "", err
	}
	return digest, b.change(ctx, digest)
}

func (b *ImageBuilder) make(ctx context.Context, log io.Writer) error {
	context, err := imageContext()
	if err != nil {
		return err
	}
	args := map[string]string{"BASE": cmp.Or(b.Base, DefaultBase)}
	return b.Images.Build(ctx, context, b.tag("candidate"), args, b.Pull, log)
}

// imageContext is the Containerfile as the engine wants it.
func imageContext() (io.Reader, error) {
	text, err := imageFiles.ReadFile("image/Containerfile")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	t := newFurniture(&b)
	t.file("/Containerfile", text)
	return &b, t.end()
}

// prove builds a package from end to end, as any job's is.
func (b *ImageBuilder) prove(ctx context.Context, log io.Writer) error {
	dir, err := os.MkdirTemp("", "serene-proof")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	proof, err := fs.Sub(imageFiles, "image/proof")
	if err != nil {
		return err
	}
	tree, out := dir+"/tree", dir+"/out"
	if err := errors.Join(os.CopyFS(tree, proof), os.Mkdir(out, 0o755)); err != nil {
		return err
	}
	limits := DefaultLimits()
	limits.Timeout = 5 * time.Minute
	s := NewSandbox(b.Engine, b.Images, b.tag("candidate"), b.Log)
	_, err = s.Run(ctx, Recipe{
		Job: "image-proof", Base: "serene-proof", Packages: []string{"serene-proof"},
		Tree: tree, Out: out, Network: NetworkNone, Limits: limits,
	}, log, nil)
	return err
}

// change moves the names, the last good image's first: at every moment current
// is an image that was proved.
func (b *ImageBuilder) change(ctx context.Context, digest string) error {
	switch current, err := b.Images.Digest(ctx, b.Ref()); {
	case errors.Is(err, ErrNoImage):
	case err != nil:
		return err
	default:
		if err := b.Images.Tag(ctx, current, b.tag("previous")); err != nil {
			return err
		}
	}
	if err := b.Images.Tag(ctx, digest, b.Ref()); err != nil {
		return err
	}
	return b.Images.Prune(ctx)
}
