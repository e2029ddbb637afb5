package plug

import (
	"strings"
	"testing"
	"time"
)

func TestZeroSettingsAreTheDefaults(t *testing.T) {
	if err := (Settings{}).Validate(); err != nil {
		t.Error(err)
	}
	got := Settings{}.WithDefaults()
	if got.Mode != Auto || strings.Join(got.Fabrics, ",") != "udp,stream" || got.Liveness != PeerURL || got.ControlTimeout != time.Second {
		t.Errorf("defaults: %+v", got)
	}
	if got.ListenUDP != "" || got.AdvertiseUDP != "" {
		t.Errorf("an address out of nowhere: %+v", got)
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	Settings{}.WithDefaults().Fabrics[0] = "x"
	if got := (Settings{}).WithDefaults().Fabrics[0]; got != "udp" {
		t.Errorf("one caller's change reached the next: %q", got)
	}
}

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		s    Settings
		want string // part of the error, "" for none
	}{
		"off":                       {Settings{Mode: Off}, ""},
		"one fabric":                {Settings{Fabrics: []string{"stream"}}, ""},
		"listen to all":             {Settings{ListenUDP: ":2380"}, ""},
		"any port":                  {Settings{ListenUDP: "10.0.0.1:0"}, ""},
		"v6":                        {Settings{ListenUDP: "[::1]:2380", AdvertiseUDP: "[2001:db8::1]:2380"}, ""},
		"named":                     {Settings{AdvertiseUDP: "etcd-1.example.org:2380"}, ""},
		"fabric liveness":           {Settings{Liveness: Fabric, AdvertiseUDP: "10.0.0.1:2380"}, ""},
		"shared memory":             {Settings{ShmDir: "/run/dv"}, ""},
		"shared memory is trusted":  {Settings{ShmDir: "/run/dv", Liveness: Fabric}, ""},
		"shm without directory":     {Settings{Fabrics: []string{"shm"}}, "dv-fabrics lists shm while dv-shm-dir is not set"},
		"directory without shm":     {Settings{Fabrics: []string{"udp"}, ShmDir: "/run/dv"}, "add shm or drop the directory"},
		"relative directory":        {Settings{ShmDir: "dv"}, "dv-shm-dir: "},
		"mode":                      {Settings{Mode: "on"}, `dv-mode="on" is unknown: use one of auto, require, off`},
		"fabric":                    {Settings{Fabrics: []string{"tcp"}}, `dv-fabrics: "tcp" is unknown: list any of shm, udp, stream`},
		"empty fabric":              {Settings{Fabrics: []string{""}}, `dv-fabrics: "" is unknown`},
		"fabric twice":              {Settings{Fabrics: []string{"udp", "stream", "udp"}}, `"udp" is listed twice`},
		"no port":                   {Settings{ListenUDP: "10.0.0.1"}, "write it like 10.0.0.1:2380"},
		"port beyond":               {Settings{ListenUDP: "10.0.0.1:65536"}, "not a number below 65536"},
		"advertise all":             {Settings{AdvertiseUDP: "0.0.0.0:2380"}, "nothing that a peer can send to"},
		"advertise all v6":          {Settings{AdvertiseUDP: "[::]:2380"}, "nothing that a peer can send to"},
		"advertise no host":         {Settings{AdvertiseUDP: ":2380"}, "nothing that a peer can send to"},
		"advertise no port":         {Settings{AdvertiseUDP: "10.0.0.1:0"}, "nothing that a peer can send to"},
		"address of no fabric":      {Settings{Fabrics: []string{"stream"}, ListenUDP: ":1"}, "add udp or drop the address"},
		"liveness":                  {Settings{Liveness: "none"}, "use one of peer-url, fabric"},
		"liveness without address":  {Settings{Liveness: Fabric}, "set dv-listen-udp, dv-advertise-udp or dv-shm-dir"},
		"control timeout too short": {Settings{ControlTimeout: time.Millisecond}, "out of range: use 100ms to 1m0s"},
		"control timeout too long":  {Settings{ControlTimeout: time.Hour}, "out of range"},
		"negative control timeout":  {Settings{ControlTimeout: -time.Second}, "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.s.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestValidateListsAllFaults(t *testing.T) {
	err := Settings{
		Mode: "x", Fabrics: []string{"y", "stream"}, ListenUDP: "z", AdvertiseUDP: ":1",
		Liveness: "w", ControlTimeout: time.Hour, ShmDir: "/x",
	}.Validate()
	for _, want := range []string{"dv-mode", "dv-fabrics", "dv-shm-dir", "dv-listen-udp", "dv-advertise-udp", "dv-liveness", "dv-control-timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
}

func TestSetPeerListener(t *testing.T) {
	for urls, want := range map[string]string{
		"":                               "",
		"http://localhost:2380":          "localhost:2380",
		"https://[::1]:2380":             "[::1]:2380",
		"unix://m1:0, http://0.0.0.0:99": "0.0.0.0:99",
		"http://10.0.0.1,http://:1":      ":1",
		"://,%zz,http://a:b":             "", // etcd says what is wrong with it
	} {
		var s Settings
		if s.SetPeerListener(urls); s.peerListener != want {
			t.Errorf("%q gives %q, want %q", urls, s.peerListener, want)
		}
	}
}
