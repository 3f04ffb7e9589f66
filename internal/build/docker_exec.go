package build

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"
)

// Exec implements Engine.
func (d *Docker) Exec(ctx context.Context, c Container, s Step, out io.Writer) (int, error) {
	made, err := d.api.ContainerExecCreate(ctx, c.ID, container.ExecOptions{
		User: s.User, WorkingDir: s.Dir, Env: s.Env, Cmd: s.Cmd,
		AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	stream, err := d.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	// The stream is past the client's hands and does not heed ctx.
	defer context.AfterFunc(ctx, stream.Close)()
	defer stream.Close()
	// The engine ends the stream with the step's own process, be it that one
	// which the step has left behind still holds it.
	_, err = stdcopy.StdCopy(out, out, stream.Reader)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("exec: read output: %w", err)
	}
	return d.exitCode(ctx, made.ID)
}

// exitCode asks how an exec whose stream has ended did end. One that still runs
// has lost its engine.
func (d *Docker) exitCode(ctx context.Context, exec string) (int, error) {
	end, err := d.api.ContainerExecInspect(ctx, exec)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	if end.Running {
		return 0, fmt.Errorf("exec: the engine closed the output of a step that still runs")
	}
	return end.ExitCode, nil
}

// inVolumes is what lies in the volumes that a container can write to, in bytes.
// Where it cannot be measured it counts for nothing; what must stay free on the
// disk does so all the same.
func (d *Docker) inVolumes(ctx context.Context, c Container, mounts []container.MountPoint) (size int64) {
	const measure = `exec du --summarize --one-file-system --block-size=1 -- "$@" 2>/dev/null`
	var dirs []string
	for _, m := range mounts {
		if m.Type == mount.TypeVolume && m.RW {
			dirs = append(dirs, m.Destination)
		}
	}
	if dirs == nil {
		return 0
	}
	text, err := ask(ctx, d, c, append([]string{"bash", "-c", measure, "serene"}, dirs...)...)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		var n int64
		fmt.Sscan(line, &n) // 0 where it does not say
		size += n
	}
	return size
}

// Put implements Engine.
func (d *Docker) Put(ctx context.Context, c Container, tar io.Reader) error {
	err := d.api.CopyToContainer(ctx, c.ID, "/", tar, container.CopyToContainerOptions{})
	if err != nil {
		return fmt.Errorf("copy into container: %w", err)
	}
	return nil
}

// Get implements Engine.
func (d *Docker) Get(ctx context.Context, c Container, path string) (io.ReadCloser, error) {
	r, _, err := d.api.CopyFromContainer(ctx, c.ID, path)
	if err != nil {
		return nil, fmt.Errorf("copy %s from container: %w", path, err)
	}
	return r, nil
}
