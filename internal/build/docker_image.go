package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
)

// ErrNoImage says that the engine has no image of that name.
var ErrNoImage = errors.New("no such image")

// Digest implements Images.
func (d *Docker) Digest(ctx context.Context, ref string) (string, error) {
	found, err := d.inspectImage(ctx, ref)
	return found.ID, err
}

// Made implements Images.
func (d *Docker) Made(ctx context.Context, ref string) (time.Time, error) {
	found, err := d.inspectImage(ctx, ref)
	if err != nil {
		return time.Time{}, err
	}
	made, err := time.Parse(time.RFC3339Nano, found.Created)
	if err != nil {
		return made, fmt.Errorf("image %s: %w", ref, err)
	}
	return made, nil
}

func (d *Docker) inspectImage(ctx context.Context, ref string) (image.InspectResponse, error) {
	found, err := d.api.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		err = ErrNoImage
	}
	if err != nil {
		return found, fmt.Errorf("image %s: %w", ref, err)
	}
	return found, nil
}

// Build implements Images.
func (d *Docker) Build(ctx context.Context, tar io.Reader, tag string, args map[string]string, pull bool, out io.Writer) error {
	given := make(map[string]*string)
	for name, value := range args {
		given[name] = &value
	}
	resp, err := d.api.ImageBuild(ctx, tar, build.ImageBuildOptions{
		Tags: []string{tag}, Dockerfile: "Containerfile", BuildArgs: given,
		PullParent: pull, NoCache: true, Remove: true, ForceRemove: true,
		Labels: map[string]string{labelBuilder: d.builder},
	})
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	defer resp.Body.Close()
	return buildOutput(resp.Body, out)
}

// buildOutput copies what the steps of an image's build print. The last message
// says whether it came to an end.
func buildOutput(r io.Reader, out io.Writer) error {
	for messages := json.NewDecoder(r); ; {
		var m struct {
			Stream string `json:"stream"`
			Status string `json:"status"`
			Error  string `json:"error"`
		}
		err := messages.Decode(&m)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("build image: %w", err)
		}
		if m.Error != "" {
			return fmt.Errorf("build image: %s", oneLine(m.Error))
		}
		if _, err := io.WriteString(out, m.Stream); err != nil {
			return err
		}
	}
}

// Tag implements Images.
func (d *Docker) Tag(ctx context.Context, from, tag string) error {
	if err := d.api.ImageTag(ctx, from, tag); err != nil {
		return fmt.Errorf("tag image: %w", err)
	}
	return nil
}

// Untag implements Images.
func (d *Docker) Untag(ctx context.Context, tag string) error {
	_, err := d.api.ImageRemove(ctx, tag, image.RemoveOptions{PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("untag image: %w", err)
	}
	return nil
}

// Prune implements Images.
func (d *Docker) Prune(ctx context.Context) error {
	mine := filters.NewArgs(filters.Arg("dangling", "true"), filters.Arg("label", labelBuilder+"="+d.builder))
	if _, err := d.api.ImagesPrune(ctx, mine); err != nil {
		return fmt.Errorf("prune images: %w", err)
	}
	return nil
}
