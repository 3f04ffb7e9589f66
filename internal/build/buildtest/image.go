package buildtest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/docker/docker/api/types/image"
	"github.com/klauspost/compress/zstd"
)

// image.sh makes the image's root directory; its text is the image's version.
//
//go:embed image.sh
var script string

// Image is the reference of the image that Engine's engine has, and any other
// after EnsureImage.
var Image = "serene-test:" + digest()

func digest() string {
	sum := sha256.Sum256([]byte(script))
	return hex.EncodeToString(sum[:6])
}

// EnsureImage gives the engine at host Image.
func EnsureImage(ctx context.Context, host string) error {
	return alone(func(dir string) error { return ensureImage(ctx, host, dir) })
}

// ensureImage imports the image from the cache, which it fills first if need be.
func ensureImage(ctx context.Context, host, dir string) error {
	api, err := connect(host)
	if err != nil {
		return err
	}
	defer api.Close()
	if _, err := api.ImageInspect(ctx, Image); err == nil {
		return nil
	}
	cached := filepath.Join(dir, "image-"+digest()+".tar.zst")
	if _, err := os.Stat(cached); errors.Is(err, os.ErrNotExist) {
		if err := bootstrap(ctx, dir, cached); err != nil {
			return err
		}
	}
	f, err := os.Open(cached)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer plain.Close()
	progress, err := api.ImageImport(ctx, image.ImportSource{Source: plain, SourceName: "-"}, Image, image.ImportOptions{})
	if err != nil {
		return err
	}
	defer progress.Close()
	_, err = io.Copy(io.Discard, progress)
	return err
}

// bootstrap fetches Debian's packages, which takes a minute.
func bootstrap(ctx context.Context, dir, cached string) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("there is no %s yet, and only root can make it", cached)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "image.sh", cached)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w\n%s", err, out[max(0, len(out)-2000):])
	}
	return nil
}
