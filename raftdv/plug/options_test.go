package plug

import (
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// everything sets every field to something that is not its default.
var everything = Settings{
	Mode: Require, Fabrics: []string{"stream", "shm", "udp"}, ListenUDP: "127.0.0.1:1", AdvertiseUDP: "127.0.0.1:2",
	ShmDir: "/run/dv", Liveness: Fabric, Elections: ElectionsObserve, ControlTimeout: 2 * time.Second,
	Views: SwitchOn, Delivery: "agreed", Relays: SwitchOff, Beat: 5 * time.Millisecond,
}

var everythingByName = map[string]string{
	"mode": "require", "fabrics": "stream, shm, udp", "listen-udp": "127.0.0.1:1", "advertise-udp": "127.0.0.1:2",
	"shm-dir": "/run/dv", "liveness": "fabric", "elections": "observe", "control-timeout": "2s",
	"delivery": "agreed", "relays": "off", "views": "on", "beat": "5ms",
}

// A setting without an option could not be set; the test below would not see
// it.
func TestEveryFieldHasAnOption(t *testing.T) {
	n := 0
	for field, v := range reflect.ValueOf(everything).Fields() {
		if !field.IsExported() {
			continue // comes from etcd's own settings
		}
		n++
		if v.IsZero() {
			t.Errorf("%s is not set in the tests", field.Name)
		}
	}
	if len(options) != n || len(everythingByName) != n {
		t.Errorf("%d fields, %d options, %d in the tests", n, len(options), len(everythingByName))
	}
}

func TestFlags(t *testing.T) {
	var s Settings
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	s.AddFlags(fs)
	var args []string
	for name, v := range everythingByName {
		args = append(args, "--dv-"+name, v)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s, everything) {
		t.Errorf("got %+v, want %+v", s, everything)
	}
	fs.SetOutput(io.Discard)
	for _, bad := range []string{"1", "0s", "soon"} {
		if err := fs.Parse([]string{"--dv-control-timeout=" + bad}); err == nil {
			t.Errorf("--dv-control-timeout=%s was taken", bad)
		}
	}
}

func TestUsageNamesEveryFlag(t *testing.T) {
	u := Usage()
	for name := range everythingByName {
		if !strings.Contains(u, "  --dv-"+name+" '") {
			t.Errorf("no --dv-%s in:\n%s", name, u)
		}
	}
}

func TestFromEnviron(t *testing.T) {
	for name, v := range everythingByName {
		t.Setenv(FlagToEnv("dv-"+name), v)
	}
	t.Setenv("ETCD_NAME", "not ours")
	s, err := FromEnviron()
	if err != nil || !reflect.DeepEqual(s, everything) {
		t.Errorf("got %+v, %v, want %+v", s, err, everything)
	}
	t.Setenv("ETCD_DV_MODE", "") // like etcd: empty is unset
	if s, err = FromEnviron(); err != nil || s.Mode != "" {
		t.Errorf("an empty variable: %+v, %v", s, err)
	}
	t.Setenv("ETCD_DV_MOOD", "auto")
	t.Setenv("ETCD_DV_CONTROL_TIMEOUT", "soon")
	_, err = FromEnviron()
	for _, want := range []string{"ETCD_DV_MOOD is unknown: use any of ETCD_DV_MODE", `ETCD_DV_CONTROL_TIMEOUT: "soon" is no duration`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestFromConfigFile(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Settings
	}{
		"nothing": {"", Settings{}},
		"no map":  {"name: m1\ndata-dir: x\n", Settings{}},
		"empty":   {"name: m1\ndv:\n", Settings{}},
		"all": {`
name: m1
dv:
  mode: require
  fabrics: [stream, shm, udp]
  shm-dir: /run/dv
  listen-udp: 127.0.0.1:1
  advertise-udp: "127.0.0.1:2"
  liveness: fabric
  elections: observe
  delivery: agreed
  relays: off
  views: on
  beat: 5ms
  control-timeout: 2s
`, everything},
		"json":          {`{"name": "m1", "dv": {"mode": "off"}}`, Settings{Mode: Off}},
		"bare off":      {"dv:\n  mode: off\n", Settings{Mode: Off}},
		"bare on":       {"dv:\n  elections: on\n", Settings{Elections: ElectionsOn}},
		"views on":      {"dv:\n  views: on\n", Settings{Views: SwitchOn}},
		"relays on":     {"dv:\n  relays: on\n", Settings{Relays: SwitchOn}},
		"elections off": {"dv:\n  elections: off\n", Settings{Elections: ElectionsOff}},
		"list as text":  {"dv:\n  fabrics: stream,udp\n", Settings{Fabrics: []string{"stream", "udp"}}},
		"etcd's own":    {"name: a\nname: b\nno-such-setting: 1\n", Settings{}},
		"dv deeper":     {"peer-transport-security:\n  dv:\n    mood: x\n", Settings{}},
		"listener":      {"listen-peer-urls: http://10.0.0.1:2380,http://127.0.0.1:2380\n", Settings{peerListener: "10.0.0.1:2380"}},
		"other numbers": {"election-timeout: 1000\ndv: {mode: auto}\n", Settings{Mode: Auto}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FromConfigFile([]byte(tc.text))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tc.want)
			}
		})
	}
}

func TestFromConfigFileIsStrict(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown, all of them": {"dv:\n  mood: x\n  fabric: udp\n", []string{"dv.mood is unknown: use any of dv.mode, dv.fabrics", "dv.fabric is unknown"}},
		"twice":                {"dv:\n  mode: off\n  mode: auto\n", []string{"dv.mode is given twice"}},
		"two maps":             {"dv:\n  mode: off\ndv:\n  mode: auto\n", []string{"dv.mode is given twice"}},
		"no map":               {"dv: auto\n", []string{"dv: is string: write a map"}},
		"a list":               {"dv: [mode]\n", []string{"write a map"}},
		"number":               {"dv:\n  control-timeout: 1000000000\n", []string{"dv.control-timeout", "durations with their unit, like 1s"}},
		"nothing":              {"dv:\n  mode:\n", []string{"dv.mode", "write text"}},
		"true":                 {"dv:\n  mode: yes\n", []string{"dv.mode"}},
		"list of numbers":      {"dv:\n  fabrics: [1]\n", []string{"dv.fabrics: list element 1 is no text"}},
		"number as key":        {"dv:\n  1: x\n", []string{"key 1 is no name"}},
		"broken":               {"dv: {", []string{"parse"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromConfigFile([]byte(tc.text))
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

func FuzzFromConfigFile(f *testing.F) {
	f.Add([]byte("dv:\n  mode: off\n"))
	f.Add([]byte(`{"dv": {"fabrics": ["udp"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := FromConfigFile(text); err == nil {
			s.Validate()
		}
	})
}

// Nobody has set what Kubernetes makes of a Service: the error says where it
// comes from.
func TestServiceVariables(t *testing.T) {
	for name, want := range map[string]bool{
		"ETCD_DV_PORT": true, "ETCD_DV_SERVICE_HOST": true, "ETCD_DV_SERVICE_PORT_CLIENT": true, "ETCD_DV_PORT_2379_TCP_ADDR": true,
		"ETCD_DV_PEERS_SERVICE_HOST": true, "ETCD_DV_MODUS": false, "ETCD_DV_PORTAL": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			_, err := FromEnviron()
			if err == nil || strings.Contains(err.Error(), "enableServiceLinks: false") != want {
				t.Errorf("got %v", err)
			}
		})
	}
}
