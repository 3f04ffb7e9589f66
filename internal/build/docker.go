package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// The labels of everything a builder makes in an engine.
const (
	labelBuilder = "serene.builder" // who made it; a builder sweeps its own only
	labelJob     = "serene.job"
	labelBase    = "serene.pkgbase"
)

// capabilities are what installing packages as root needs: owners and modes of
// files, and install scripts that change user or root directory. The user who
// builds has none of them, and cannot get any: no-new-privileges.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "SYS_CHROOT"}

// Docker is the Engine and Images of a Docker daemon, version 20.10 or later.
type Docker struct {
	api     *client.Client
	builder string
	root    string      // where the engine keeps containers, "" if on another machine
	noQuota atomic.Bool // the storage driver cannot limit a container's disk
}

var (
	_ Engine = (*Docker)(nil)
	_ Images = (*Docker)(nil)
)

// NewDocker connects to the engine at host, as DOCKER_HOST words it; "" means
// DOCKER_HOST itself, or else the local socket. builder is in the label of all
// that is made through it, so that two builders can share an engine.
func NewDocker(ctx context.Context, host, builder string) (*Docker, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	api, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	info, err := api.Info(ctx)
	if err != nil {
		api.Close()
		return nil, fmt.Errorf("docker: %w", err)
	}
	d := &Docker{api: api, builder: builder}
	if _, err := os.Stat(info.DockerRootDir); err == nil && strings.HasPrefix(api.DaemonHost(), "unix:") {
		d.root = info.DockerRootDir
	}
	return d, nil
}

// Local reports whether the engine keeps its containers on this machine, so that
// it can mount directories of it.
func (d *Docker) Local() bool { return d.root != "" }

// Close ends the connection. Containers are not touched.
func (d *Docker) Close() error { return d.api.Close() }

// creation is how long an engine may take to make a container.
const creation = 2 * time.Minute

// Create implements Engine. It does not heed ctx half-way: the engine would go
// on with what was asked of it, and make it after it was removed here.
func (d *Docker) Create(ctx context.Context, s Spec) (Container, error) {
	whole, stop := context.WithTimeout(context.WithoutCancel(ctx), creation)
	defer stop()
	c := Container{Name: "serene-" + s.Job}
	if err := d.Remove(whole, Container{ID: c.Name, Network: c.Name}); err != nil {
		return c, fmt.Errorf("clear %s: %w", c.Name, err)
	}
	err := d.create(whole, s, &c)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = errors.Join(err, d.Remove(whole, c))
	}
	return c, err
}

// create fills in c as far as it comes.
func (d *Docker) create(ctx context.Context, s Spec, c *Container) error {
	c.ID = c.Name
	if s.Network {
		_, err := d.api.NetworkCreate(ctx, c.Name, network.CreateOptions{Driver: "bridge", Labels: d.labels(s)})
		if err != nil {
			return fmt.Errorf("create network: %w", err)
		}
		c.Network = c.Name
	}
	if err := d.createContainer(ctx, s, c); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	if err := d.api.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	return nil
}

// createContainer asks for a disk quota until the engine has once refused one:
// only some storage drivers have them. The guard measures in any case.
func (d *Docker) createContainer(ctx context.Context, s Spec, c *Container) error {
	host := d.hostConfig(s, c.Network)
	if s.Limits.Disk > 0 && !d.noQuota.Load() {
		host.StorageOpt = map[string]string{"size": fmt.Sprint(s.Limits.Disk)}
	}
	config := &container.Config{
		Image:    s.Image,
		Hostname: "build",
		Cmd:      []string{"sleep", "infinity"},
		// An image's own entry point or user would not wait for us.
		Entrypoint: []string{},
		User:       "root",
		Labels:     d.labels(s),
		// The kernel's new namespace is all that there is then. To connect it to
		// the network "none" would be half of the time that a start takes.
		NetworkDisabled: !s.Network,
	}
	made, err := d.api.ContainerCreate(ctx, config, host, nil, nil, c.Name)
	if err != nil && host.StorageOpt != nil && strings.Contains(err.Error(), "storage-opt") {
		d.noQuota.Store(true)
		host.StorageOpt = nil
		made, err = d.api.ContainerCreate(ctx, config, host, nil, nil, c.Name)
	}
	if err == nil {
		c.ID = made.ID
	}
	return err
}

func (d *Docker) labels(s Spec) map[string]string {
	return map[string]string{labelBuilder: d.builder, labelJob: s.Job, labelBase: s.Base}
}

func (d *Docker) hostConfig(s Spec, net string) *container.HostConfig {
	if net == "" {
		net = "none"
	}
	init := true
	h := &container.HostConfig{
		// What steps print is read from them, not from the engine's logs.
		LogConfig:   container.LogConfig{Type: "none"},
		NetworkMode: container.NetworkMode(net),
		CapDrop:     []string{"ALL"},
		CapAdd:      capabilities,
		SecurityOpt: []string{"no-new-privileges"},
		IpcMode:     "private",
		Init:        &init, // reaps what builds leave behind
		Tmpfs:       map[string]string{"/tmp": tmpfs(s.Limits.Tmp)},
		Resources:   resources(s.Limits),
	}
	for _, m := range s.Mounts {
		h.Mounts = append(h.Mounts, d.mount(s, m))
	}
	return h
}

// mount labels a volume without a job: Sweep is to leave it.
func (d *Docker) mount(s Spec, m Mount) mount.Mount {
	if filepath.IsAbs(m.Source) {
		return mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	}
	labels := map[string]string{labelBuilder: d.builder, labelBase: s.Base}
	return mount.Mount{
		Type: mount.TypeVolume, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		VolumeOptions: &mount.VolumeOptions{Labels: labels},
	}
}

// tmpfs allows execution: configure scripts try out what they compile in /tmp.
func tmpfs(size int64) string {
	opt := "rw,exec,nosuid,nodev,mode=1777"
	if size > 0 {
		opt += fmt.Sprintf(",size=%d", size)
	}
	return opt
}

func resources(l Limits) container.Resources {
	r := container.Resources{
		Memory:     l.Memory,
		MemorySwap: l.Memory, // memory and swap together: so no swap
		NanoCPUs:   int64(l.CPUs * 1e9),
		Ulimits:    []*container.Ulimit{{Name: "core"}},
	}
	if l.Pids > 0 {
		r.PidsLimit = &l.Pids
	}
	if l.Files > 0 {
		// A high soft limit slows down everything that closes all files it
		// might have open, fakeroot among them.
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: "nofile", Soft: min(l.Files, 1024), Hard: l.Files})
	}
	if l.Disk > 0 {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: "fsize", Soft: l.Disk, Hard: l.Disk})
	}
	return r
}

// Isolate implements Engine.
func (d *Docker) Isolate(ctx context.Context, c Container) error {
	if c.Network == "" {
		return nil
	}
	err := d.api.NetworkDisconnect(ctx, c.Network, c.ID, true)
	if err != nil {
		return fmt.Errorf("disconnect network: %w", err)
	}
	return nil
}

// Usage implements Engine.
func (d *Docker) Usage(ctx context.Context, c Container, disk bool) (Usage, error) {
	u := Usage{Disk: -1, Free: d.Free()}
	seen, _, err := d.api.ContainerInspectWithRaw(ctx, c.ID, disk)
	if err != nil {
		return u, fmt.Errorf("inspect container: %w", err)
	}
	u.Running, u.OOMKilled = seen.State.Running, seen.State.OOMKilled
	if seen.SizeRw != nil {
		u.Disk = *seen.SizeRw + d.inVolumes(ctx, c, seen.Mounts)
	}
	if !u.Running {
		return u, nil
	}
	stats, err := d.api.ContainerStatsOneShot(ctx, c.ID)
	if err != nil {
		return u, fmt.Errorf("container statistics: %w", err)
	}
	defer stats.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(stats.Body).Decode(&s); err != nil {
		return u, fmt.Errorf("container statistics: %w", err)
	}
	u.Pids = int64(min(s.PidsStats.Current, math.MaxInt64))
	return u, nil
}

// Free is the space left for all containers in bytes, -1 if that cannot be known.
func (d *Docker) Free() int64 {
	var fs unix.Statfs_t
	if d.root == "" || unix.Statfs(d.root, &fs) != nil {
		return -1
	}
	return int64(fs.Bavail) * fs.Bsize
}

// Remove implements Engine.
func (d *Docker) Remove(ctx context.Context, c Container) error {
	err := d.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err = settled(err); err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	if c.Network == "" {
		return nil
	}
	if err := settled(d.api.NetworkRemove(ctx, c.Network)); err != nil {
		return fmt.Errorf("remove network: %w", err)
	}
	return nil
}

// settled forgets errors that say someone else has done it, or is doing it.
func settled(err error) error {
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return err
}
