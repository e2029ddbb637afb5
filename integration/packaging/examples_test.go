package packaging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/internal/needs"
)

const root = "../.."

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "raftdv-packaging-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(scratch)
		os.Exit(code)
	}))
}

// scratch is a folder for what all tests of a run share.
var scratch string

// built is the checker of manifests, made once per run.
var built struct {
	once sync.Once
	path string
	err  error
}

func checker(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.path, built.err = BuildManifests(t.Context(), root, scratch) })
	err := built.err
	if none, ok := errors.AsType[*NoModulesError](err); ok {
		needs.Refused(t, "Kubernetes and compose files are not checked: "+none.Error(), needs.Modules())
	}
	if err != nil {
		t.Fatal(err)
	}
	return built.path
}

// composeEnv is what member.yaml asks for.
var composeEnv = []string{"HOST=10.0.0.11", "NAME=m1", "CLUSTER=m1=https://10.0.0.11:2380,m2=https://10.0.0.12:2380,m3=https://10.0.0.13:2380"}

// starts reads one file of docs/examples, and fails for one that nobody checks.
func starts(t *testing.T, file string) ([]Start, error) {
	t.Helper()
	switch kind := filepath.Base(filepath.Dir(file)); {
	case kind == "kubernetes":
		all, err := ReadManifest(t.Context(), checker(t), kind, file)
		for i := range all {
			field(all[i].Env)
		}
		return all, err
	case kind == "storm" && filepath.Ext(file) == ".yaml": // cmd/raftdv runs what it starts
		_, err := ReadManifest(t.Context(), checker(t), "kubernetes", file)
		return nil, err
	case kind == "storm":
		out, err := exec.CommandContext(t.Context(), "bash", "-n", file).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return nil, err
	case kind == "compose":
		return ReadManifest(t.Context(), checker(t), kind, file, composeEnv...)
	case strings.Contains(file, "/systemd/"):
		s, err := UnitStart(file)
		return []Start{s}, err
	}
	return nil, fmt.Errorf("%s: nothing checks files of this folder: teach starts", file)
}

// field gives variables what Kubernetes would.
func field(env []Var) {
	for i, v := range env {
		switch v.Field {
		case "metadata.name":
			env[i].Value = "etcd-0"
		case "metadata.namespace":
			env[i].Value = "ns"
		}
	}
}

func checkExample(t *testing.T, file string) error {
	t.Helper()
	all, err := starts(t, file)
	errs := []error{err}
	for _, s := range all {
		errs = append(errs, CheckStart(s))
	}
	return errors.Join(errs...)
}

// Every example is understood by those who will read it, down to the values of
// its settings.
func TestExamples(t *testing.T) {
	seen := 0
	for _, folder := range []string{"compose", "kubernetes", "storm", "systemd"} {
		err := filepath.WalkDir(filepath.Join(root, "docs/examples", folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			seen++
			t.Run(strings.TrimPrefix(path, root+"/docs/examples/"), func(t *testing.T) {
				if err := checkExample(t, path); err != nil {
					t.Error(err)
				}
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 10 {
		t.Errorf("%d examples: some are gone", seen)
	}
}

// What must be found in an example that has a fault.
func TestBrokenExamples(t *testing.T) {
	const (
		set     = "kubernetes/statefulset.yaml"
		pod     = "kubernetes/static-pod.yaml"
		compose = "compose/compose.yaml"
		member  = "compose/member.yaml"
		unit    = "systemd/etcd-dv.service"
		def     = "systemd/etcd-dv.default"
		dropIn  = "systemd/etcd.service.d/etcd-dv.conf"
		job     = "storm/job.yaml"
		array   = "storm/array.sbatch"
	)
	for name, c := range map[string]struct{ file, old, new, want string }{
		"misspelt field":           {set, "podManagementPolicy", "podManagmentPolicy", `unknown field "spec.podManagmentPolicy"`},
		"misspelt field of a pod":  {pod, "hostNetwork", "hostNetwrok", `unknown field "spec.hostNetwrok"`},
		"field twice":              {set, "  replicas: 3\n", "  replicas: 3\n  replicas: 5\n", `"replicas" already set`},
		"unknown kind":             {set, "kind: PodDisruptionBudget", "kind: PodDisruptionBudge", "no kind \"PodDisruptionBudge\""},
		"other type":               {set, "replicas: 3", `replicas: "three"`, "cannot unmarshal"},
		"probe of no port":         {set, "port: metrics}\n            periodSeconds: 5", "port: metric}\n            periodSeconds: 5", "the startup probe asks port metric"},
		"no such volume":           {set, "{name: data, mountPath", "{name: dat, mountPath", "mounts volume dat"},
		"budget of nobody":         {set, "  maxUnavailable: 1\n  selector:\n    matchLabels: {app: etcd-dv}", "  maxUnavailable: 1\n  selector:\n    matchLabels: {app: etcd}", "PodDisruptionBudget etcd selects"},
		"no headless service":      {set, "serviceName: etcd-peers", "serviceName: etcd-peer", `there is no Service "etcd-peer"`},
		"service that waits":       {set, "publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "must be headless and publish"},
		"port without udp":         {set, "containerPort: 2380, protocol: UDP", "containerPort: 2380, protocol: TCP", "no container has port peer-udp/UDP"},
		"service links":            {set, "enableServiceLinks: false", "enableServiceLinks: true", "becomes variables ETCD_*"},
		"renamed variable":         {set, "ETCD_DV_MODE", "ETCD_DV_MOOD", "ETCD_DV_MOOD belongs to no flag"},
		"renamed variable of etcd": {set, "ETCD_DATA_DIR", "ETCD_DATA_FOLDER", "ETCD_DATA_FOLDER belongs to no flag"},
		"no such fabric":           {set, "value: udp,stream", "value: udp,strean", `"strean" is unknown`},
		"no such variable before":  {set, "$(POD_NAMESPACE).svc:2379", "$(POD_SPACE).svc:2379", "no variable POD_SPACE before it"},
		"not in its own list":      {set, "etcd-0=http://etcd-0.etcd-peers", "etcd-0=http://etcd-0.etcd-peer", "lacks etcd-0=http://etcd-0.etcd-peers.ns.svc:2380"},
		"renamed flag":             {pod, "--watch-progress-notify-interval", "--watch-progress-interval", "flag provided but not defined: -watch-progress-interval"},
		"no such gate":             {pod, "InitialCorruptCheck=true", "InitialCorruptChek=true", "InitialCorruptChek"},
		"other program":            {pod, "- etcd-dv\n", "- etcd-vd\n", `"etcd-vd" starts none of`},
		"misspelt key":             {compose, "healthcheck:", "healtcheck:", "healtcheck"},
		"no volume":                {compose, `volumes: ["etcd2:/var/lib/etcd"]`, "", "service etcd2: no volume at /var/lib/etcd"},
		"volume of nobody":         {compose, "  etcd3: {}\n", "", "undefined volume etcd3"},
		"shell that is not there":  {compose, `["CMD", "etcdctl", "endpoint", "health"]`, `["CMD-SHELL", "etcdctl endpoint health"]`, "no health check by CMD"},
		"variable of compose":      {compose, "ETCD_DV_FABRICS", "ETCD_DV_FABRIC", "ETCD_DV_FABRIC belongs to no flag"},
		"mode of compose":          {compose, "ETCD_DV_MODE: auto", "ETCD_DV_MODE: automatic", `dv-mode="automatic" is unknown`},
		"no udp":                   {member, `      - "2380:2380/udp"` + "\n", "", "publish 2380 for tcp and udp"},
		"other udp port":           {member, "2380:2380/udp", "2381:2380/udp", "publish 2380 for tcp and udp"},
		"variable of etcdctl":      {member, "ETCDCTL_CACERT", "ETCDCTL_CA", "ETCDCTL_CA is unknown to etcdctl"},
		"variable of the unit":     {unit, "ETCD_DATA_DIR", "ETCD_DATADIR", "ETCD_DATADIR belongs to no flag"},
		"variable of the file":     {def, "ETCD_PEER_KEY_FILE", "ETCD_PEER_KEYFILE", "ETCD_PEER_KEYFILE belongs to no flag"},
		"address of the file":      {def, "ETCD_LISTEN_PEER_URLS=https://10.0.0.11:2380", "ETCD_LISTEN_PEER_URLS=10.0.0.11:2380", "ETCD_LISTEN_PEER_URLS"},
		"variable of the drop-in":  {dropIn, "ETCD_DV_MODE=auto", "ETCD_DV_MODE=atuo", `dv-mode="atuo" is unknown`},
		"parts that are missing":   {job, "completions: 8", "completions: 7", "some part would be missing"},
		"parts without numbers":    {job, "completionMode: Indexed", "completionMode: NonIndexed", "needs completionMode: Indexed"},
		"a job for ever":           {job, "restartPolicy: Never", "restartPolicy: Always", "a job has Never or OnFailure"},
		"no such volume of a job":  {job, "{name: runs, mountPath", "{name: run, mountPath", "mounts volume run"},
		"misspelt field of a job":  {job, "backoffLimitPerIndex", "backoffLimitPerIndx", `unknown field "spec.backoffLimitPerIndx"`},
		"no script":                {array, "dir=${2:?", "dir=$(${2:?", "array.sbatch"},
		"flag of the drop-in":      {dropIn, "etcd-dv $DAEMON_ARGS", "etcd-dv --dv-mood=auto", "flag provided but not defined: -dv-mood"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkExample(t, broken(t, c.file, c.old, c.new))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// broken copies an example and replaces some of its text.
func broken(t *testing.T, file, old, replacement string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/examples", file))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q to break", file, old)
	}
	path := filepath.Join(t.TempDir(), filepath.Join("/", file))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, replacement)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// The table must have the flags of both, under the variables of both.
func TestTable(t *testing.T) {
	table := newTable()
	for env, name := range map[string]string{"ETCD_DV_MODE": "dv-mode", "ETCD_LISTEN_PEER_URLS": "listen-peer-urls", "ETCD_CONFIG_FILE": "config-file"} {
		if table.byEnv[env] != name {
			t.Errorf("%s sets %q, want %q", env, table.byEnv[env], name)
		}
	}
}

// The Dockerfile is read as Docker reads it, and ends in what etcd's image is.
func TestDockerfile(t *testing.T) {
	all, err := ReadManifest(t.Context(), checker(t), "dockerfile", filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	s := all[0]
	if s.Image != "scratch" || s.Dir != "/var/lib/etcd/" || !slices.Equal(s.Command, []string{"/usr/local/bin/etcd-dv"}) ||
		!slices.Equal(s.Ports, []string{"2379", "2380", "2380/udp"}) || !slices.Equal(s.Env, []Var{{Name: "PATH", Value: "/usr/local/bin"}}) {
		t.Errorf("the last stage is %+v", s)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"misspelt instruction": {"EXPOSE", "EXPSE", "unknown instruction: EXPSE"},
		"no such stage":        {"--from=build", "--from=biuld", `files are copied from "biuld"`},
		"no such flag":         {"COPY --from", "COPY --form", "unknown flag: --form"},
		"casing":               {" AS build", " as build", "FromAsCasing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadManifest(t.Context(), checker(t), "dockerfile", broken(t, "../../Dockerfile", c.old, c.new))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
