package packaging

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/raftdv/dv/raftdv/plug"
)

// A Var is an environment variable. Field is where its value comes from, if a
// manifest leaves that to whoever starts the program.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Field string `json:"field,omitempty"`
}

// A Start is what an example starts a member with.
type Start struct {
	File    string   `json:"file"`
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"` // empty: what the image says
	Env     []Var    `json:"env"`
	Check   []string `json:"check"` // the command of a health check
	Ports   []string `json:"ports"` // of a Dockerfile
	Dir     string   `json:"dir"`   // of a Dockerfile
}

// programs are the names that start the server.
var programs = []string{"etcd", "etcd-dv"}

// etcdctlVars are the variables of etcdctl that examples use. The test of the
// image asks etcdctl itself for them.
var etcdctlVars = []string{"ETCDCTL_ENDPOINTS", "ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"}

// A table is the flags of etcd-dv, and which of them each variable sets.
type table struct {
	flags    *flag.FlagSet
	settings plug.Settings
	byEnv    map[string]string
}

// mainFlags are those that etcd's main program adds to its own, and that
// examples may use. The tests ask etcd-dv for them.
var mainFlags = []string{"config-file", "initial-cluster-state"}

func clusterState(v string) error {
	if v != embed.ClusterStateFlagNew && v != embed.ClusterStateFlagExisting {
		return fmt.Errorf("use %s or %s", embed.ClusterStateFlagNew, embed.ClusterStateFlagExisting)
	}
	return nil
}

// newTable registers the flags as etcd and etcd-dv do.
func newTable() *table {
	t := &table{flags: flag.NewFlagSet("etcd-dv", flag.ContinueOnError), byEnv: map[string]string{}}
	t.flags.SetOutput(io.Discard)
	embed.NewConfig().AddFlags(t.flags)
	t.flags.String("config-file", "", "")
	t.flags.Func("initial-cluster-state", "", clusterState)
	t.settings.AddFlags(t.flags)
	t.flags.VisitAll(func(f *flag.Flag) { t.byEnv[plug.FlagToEnv(f.Name)] = f.Name })
	return t
}

// CheckStart returns all that the server would refuse or not understand: flags
// and variables that do not exist, values that do not parse, a member that its
// own list of members does not have.
func CheckStart(s Start) error {
	t := newTable()
	errs := []error{t.command(s.Command)}
	env, err := expand(s.Env)
	errs = append(errs, err)
	for _, v := range env {
		errs = append(errs, t.variable(v))
	}
	errs = append(errs, t.settings.Validate(), t.inCluster())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %s: %w", s.File, s.Name, err)
	}
	return nil
}

func (t *table) command(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if program := args[0][strings.LastIndex(args[0], "/")+1:]; !slices.Contains(programs, program) {
		return fmt.Errorf("%q starts none of %s", args[0], strings.Join(programs, ", "))
	}
	if err := t.flags.Parse(args[1:]); err != nil {
		return err
	}
	if t.flags.NArg() > 0 {
		return fmt.Errorf("argument %q is no flag", t.flags.Arg(0))
	}
	return nil
}

func (t *table) variable(v Var) error {
	if strings.HasPrefix(v.Name, "ETCDCTL_") {
		if !slices.Contains(etcdctlVars, v.Name) {
			return fmt.Errorf("%s is unknown to etcdctl: use any of %s", v.Name, strings.Join(etcdctlVars, ", "))
		}
		return nil
	}
	if !strings.HasPrefix(v.Name, "ETCD_") {
		return nil
	}
	name, ok := t.byEnv[v.Name]
	if !ok {
		return fmt.Errorf("%s belongs to no flag of etcd-dv", v.Name)
	}
	if err := t.flags.Set(name, v.Value); err != nil {
		return fmt.Errorf("%s=%q: %w", v.Name, v.Value, err)
	}
	return nil
}

// inCluster: --initial-cluster, if given, has this member under the URLs that
// it advertises.
func (t *table) inCluster() error {
	given := map[string]string{}
	t.flags.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	list, name, urls := given["initial-cluster"], given["name"], given["initial-advertise-peer-urls"]
	if list == "" {
		return nil
	}
	for url := range strings.SplitSeq(urls, ",") {
		if !slices.Contains(strings.Split(list, ","), name+"="+url) {
			return fmt.Errorf("initial-cluster %q lacks %s=%s", list, name, url)
		}
	}
	return nil
}

var reference = regexp.MustCompile(`\$\(([A-Za-z_]+)\)`)

// expand replaces $(NAME) by variables that come before, as Kubernetes does.
func expand(env []Var) ([]Var, error) {
	values := map[string]string{}
	var out []Var
	var errs []error
	for _, v := range env {
		value := reference.ReplaceAllStringFunc(v.Value, func(ref string) string {
			name := reference.FindStringSubmatch(ref)[1]
			if _, ok := values[name]; !ok {
				errs = append(errs, fmt.Errorf("%s=%q: no variable %s before it", v.Name, v.Value, name))
			}
			return values[name]
		})
		values[v.Name] = value
		out = append(out, Var{Name: v.Name, Value: value})
	}
	return out, errors.Join(errs...)
}
