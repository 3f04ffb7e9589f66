package build

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// Sweep implements Engine. It goes on after an error, so that one thing that
// cannot be removed does not keep the others.
func (d *Docker) Sweep(ctx context.Context, alive func(job string) bool) (int, error) {
	mine := filters.NewArgs(filters.Arg("label", labelBuilder+"="+d.builder), filters.Arg("label", labelJob))
	var s sweep
	containers, err := d.api.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	s.note(err)
	for _, c := range containers {
		if !alive(c.Labels[labelJob]) {
			s.did(d.Remove(ctx, Container{ID: c.ID}))
		}
	}
	// Networks and volumes can only go after the containers that use them.
	networks, err := d.api.NetworkList(ctx, network.ListOptions{Filters: mine})
	s.note(err)
	for _, n := range networks {
		if !alive(n.Labels[labelJob]) {
			s.did(settled(d.api.NetworkRemove(ctx, n.ID)))
		}
	}
	volumes, err := d.api.VolumeList(ctx, volume.ListOptions{Filters: mine})
	s.note(err)
	for _, v := range volumes.Volumes {
		if !alive(v.Labels[labelJob]) {
			s.did(settled(d.api.VolumeRemove(ctx, v.Name, true)))
		}
	}
	return s.removed, s.err
}

// SweepCaches removes the volumes of this builder's mounts, except those that a
// container uses and those that keep says are to stay. made is when one was made.
func (d *Docker) SweepCaches(ctx context.Context, keep func(volume string, made time.Time) bool) (int, error) {
	mine := filters.NewArgs(filters.Arg("label", labelBuilder+"="+d.builder))
	var s sweep
	volumes, err := d.api.VolumeList(ctx, volume.ListOptions{Filters: mine})
	s.note(err)
	for _, v := range volumes.Volumes {
		made, _ := time.Parse(time.RFC3339, v.CreatedAt) // one of no known time is old
		if _, ofJob := v.Labels[labelJob]; ofJob || keep(v.Name, made) {
			continue
		}
		if err := d.api.VolumeRemove(ctx, v.Name, false); !errdefs.IsConflict(err) {
			s.did(settled(err))
		}
	}
	return s.removed, s.err
}

type sweep struct {
	removed int
	err     error
}

func (s *sweep) note(err error) { s.err = errors.Join(s.err, err) }

func (s *sweep) did(err error) {
	if err == nil {
		s.removed++
	}
	s.note(err)
}
