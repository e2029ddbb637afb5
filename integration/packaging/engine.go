package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An Engine builds images and runs containers with a storage of its own, which
// is a folder. Of the machine's own nothing is used; what stays there are empty
// folders of podman and crun below /run, and buildah's index of layers in
// /var/lib/containers/cache.
type Engine struct {
	dir    string
	env    []string
	inside *Namespace // where podman runs
}

// NewEngine uses dir, which must exist and have room for a few hundred
// megabytes. podman is run inside of a namespace, buildah outside.
func NewEngine(dir string, inside *Namespace) (*Engine, error) {
	e := &Engine{dir: dir, inside: inside}
	files := map[string]string{
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", e.path("root"), e.path("run")),
		// Locks in files: shared memory would outlive the folder.
		"containers.conf": fmt.Sprintf(`[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "crun"
static_dir = %q
tmp_dir = %q
volume_path = %q
[containers]
cgroups = "disabled"
log_driver = "k8s-file"
default_ulimits = [%s]
`, e.path("static"), e.path("libpod"), e.path("volumes"), ulimits()),
		"registries.conf": "unqualified-search-registries = []\n",
	}
	for name, text := range files {
		if err := os.WriteFile(e.path(name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(e.path("tmp"), 0o755); err != nil {
		return nil, err
	}
	e.env = append(os.Environ(), "CONTAINERS_STORAGE_CONF="+e.path("storage.conf"),
		"CONTAINERS_REGISTRIES_CONF="+e.path("registries.conf"), "TMPDIR="+e.path("tmp"), "BUILDAH_ISOLATION=chroot")
	return e, nil
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// maxUlimit is what containers get of the limits that podman would set to more
// than this process may.
const maxUlimit = 4096

func ulimits() string {
	var all []string
	for name, which := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC} {
		n := uint64(maxUlimit)
		var l unix.Rlimit
		if err := unix.Getrlimit(which, &l); err == nil {
			n = min(n, l.Cur)
		}
		all = append(all, fmt.Sprintf(`"%s=%d:%d"`, name, n, n))
	}
	return strings.Join(all, ", ")
}

func (e *Engine) buildah(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "buildah", args...)
	cmd.Env = e.env
	return e.run(cmd)
}

func (e *Engine) podman(ctx context.Context, args ...string) (string, error) {
	return e.run(e.podmanCommand(ctx, args...))
}

// podmanCommand has podman's settings, which buildah does not understand in the
// same way.
func (e *Engine) podmanCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := e.inside.Command(ctx, append([]string{"podman"}, args...)...)
	cmd.Env = append(slices.Clone(e.env), "CONTAINERS_CONF="+e.path("containers.conf"))
	return cmd
}

func (e *Engine) run(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w:\n%s%s", strings.Join(cmd.Args, " "), err, tail(stdout.String()), tail(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// maxTail is how much of a program's output goes into an error.
const maxTail = 4 << 10

func tail(text string) string { return text[max(0, len(text)-maxTail):] }

// goBase is the name of the image that stands in for GO_IMAGE.
const goBase = "localhost/raftdv-test-go"

// GoBase makes an image that has nothing but links and empty folders, and
// returns the volumes that give it this machine's Go, its tools and its caches.
func (e *Engine) GoBase(ctx context.Context) (volumes []string, err error) {
	dirs, err := goEnv(ctx, "GOROOT", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return nil, err
	}
	volumes = []string{
		"/usr:/usr:ro", "/etc/alternatives:/etc/alternatives:ro", // links of awk and others
		dirs[0] + ":/go/root:ro", dirs[1] + ":/go/mod", dirs[2] + ":/go/build",
	}
	rootfs := e.path("base")
	if err := layOutBase(rootfs); err != nil {
		return nil, err
	}
	const text = "FROM scratch\nCOPY . /\nENV PATH=/go/root/bin:/usr/bin:/bin HOME=/go GOROOT=/go/root GOTOOLCHAIN=local GOMODCACHE=/go/mod GOCACHE=/go/build\n"
	file := e.path("base.Dockerfile")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	_, err = e.buildah(ctx, "build", "-t", goBase, "-f", file, rootfs)
	return volumes, err
}

func layOutBase(rootfs string) error {
	for _, dir := range []string{"usr", "etc/alternatives", "etc/ssl/certs", "go/root", "go/mod", "go/build", "var/tmp", "dev", "proc", "sys"} {
		if err := os.MkdirAll(filepath.Join(rootfs, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(rootfs, "tmp"), 0o1777); err != nil {
		return err
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(rootfs, link)); err != nil {
			return err
		}
	}
	const certificates = "etc/ssl/certs/ca-certificates.crt"
	text, err := os.ReadFile("/" + certificates)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(rootfs, certificates), text, 0o644)
}

func goEnv(ctx context.Context, names ...string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", append([]string{"env"}, names...)...).Output()
	values := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err == nil && len(values) != len(names) {
		err = fmt.Errorf("go env %v says %q", names, out)
	}
	return values, err
}

// Build makes image from the Dockerfile in context, on goBase.
func (e *Engine) Build(ctx context.Context, context, image string, volumes []string) error {
	proxy, err := goEnv(ctx, "GOPROXY")
	if err != nil {
		return err
	}
	args := []string{"build", "--pull-never", "--build-arg", "GO_IMAGE=" + goBase, "--build-arg", "GOPROXY=" + proxy[0]}
	for _, v := range volumes {
		args = append(args, "-v", v)
	}
	_, err = e.buildah(ctx, append(args, "-t", image, context)...)
	return err
}

// An ImageConfig is what a container of an image is started with.
type ImageConfig struct {
	ExposedPorts map[string]struct{}
	Env          []string
	Cmd          []string
	Entrypoint   []string
	WorkingDir   string
	User         string
}

// Inspect returns the configuration of an image.
func (e *Engine) Inspect(ctx context.Context, image string) (c ImageConfig, err error) {
	text, err := e.buildah(ctx, "inspect", "--type", "image", image)
	if err != nil {
		return c, err
	}
	var all struct {
		OCIv1 struct {
			Config ImageConfig `json:"config"`
		}
	}
	err = json.Unmarshal([]byte(text), &all)
	return all.OCIv1.Config, err
}

// Mounted calls f with a folder that holds what image holds.
func (e *Engine) Mounted(ctx context.Context, image string, f func(dir string) error) error {
	container, err := e.buildah(ctx, "from", "--pull-never", image)
	if err != nil {
		return err
	}
	dir, err := e.buildah(ctx, "mount", container)
	if err == nil {
		err = f(dir)
	}
	_, gone := e.buildah(ctx, "rm", container)
	return errors.Join(err, gone)
}
