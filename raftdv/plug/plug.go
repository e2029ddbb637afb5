package plug

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin"
	"github.com/raftdv/dv/raftdv/election"
)

// Transport is what the etcd server needs of its peer transport. It asserts
// Pausable without a check and calls CutPeer and MendPeer in its tests.
type Transport interface {
	rafthttp.Transporter
	rafthttp.Pausable
	CutPeer(types.ID)
	MendPeer(types.ID)
}

var _ Transport = (*rafthttp.Transport)(nil)

var process struct {
	sync.Mutex
	hooked     string // version of the patched server that is linked in
	configured bool
	settings   Settings
}

// MarkHooked is called by the patched server when it is linked in; version is
// the server's.
func MarkHooked(version string) {
	process.Lock()
	defer process.Unlock()
	process.hooked = version
}

// Hooked returns the version of the patched server in this binary, or false
// if the binary was built with the untouched server, whose transport nothing
// can replace.
func Hooked() (version string, ok bool) {
	process.Lock()
	defer process.Unlock()
	return process.hooked, process.hooked != ""
}

// Configure sets what New uses from now on, in place of the environment. It
// returns what s.Validate returns, and changes nothing if that is an error.
func Configure(s Settings) error {
	if err := s.Validate(); err != nil {
		return err
	}
	process.Lock()
	defer process.Unlock()
	process.configured, process.settings = true, s
	return nil
}

// current returns the settings in force.
func current() (Settings, error) {
	process.Lock()
	defer process.Unlock()
	if process.configured {
		return process.settings, nil
	}
	s, err := FromEnviron()
	if err != nil {
		return s, err
	}
	return s, s.Validate()
}

// New returns the transport that the server starts and uses. stock is filled
// in and not started. An error of the settings comes out of the transport's
// Start, as the server has no other place for it.
func New(cfg config.ServerConfig, stock *rafthttp.Transport) Transport {
	s, err := current()
	if err != nil {
		return refused{stock, fmt.Errorf("raftdv settings of the environment: %w", err)}
	}
	return choose(s, cfg, stock)
}

// incarnationFile keeps, in the member's directory, what makes its
// incarnations rise.
const incarnationFile = "dv-incarnation"

// viewFile keeps its votes on views there.
const viewFile = "dv-view"

func choose(s Settings, cfg config.ServerConfig, stock *rafthttp.Transport) Transport {
	s = s.WithDefaults()
	if s.Mode != Off {
		return replace(s, cfg, stock)
	}
	if stock.Logger != nil {
		stock.Logger.Info("raftdv: peer traffic uses rafthttp", zap.String("mode", string(s.Mode)), zap.String("member", cfg.Name))
	}
	return stock
}

// replace makes the transport that takes stock's place; s has no zero fields
// but the addresses.
func replace(s Settings, cfg config.ServerConfig, stock *rafthttp.Transport) *raftdv.Transport {
	mode, err := election.ParseMode(string(s.Elections))
	if err != nil {
		panic("raftdv: " + err.Error()) // settings were validated
	}
	delivery, err := raftdv.ParseDelivery(s.Delivery)
	if err != nil {
		panic("raftdv: " + err.Error())
	}
	votes := ""
	if s.Views == SwitchOn {
		votes = filepath.Join(cfg.MemberDir(), viewFile)
	}
	return &raftdv.Transport{
		Logger: stock.Logger, DialTimeout: stock.DialTimeout, DialRetryFrequency: stock.DialRetryFrequency, TLSInfo: stock.TLSInfo,
		ID: stock.ID, URLs: stock.URLs, ClusterID: stock.ClusterID, Raft: stock.Raft, Snapshotter: stock.Snapshotter,
		ServerStats: stock.ServerStats, LeaderStats: stock.LeaderStats, ErrorC: stock.ErrorC,
		Config: raftdv.Config{
			Require: s.Mode == Require, Fabrics: s.Fabrics, ShmDir: s.ShmDir, ListenUDP: s.ListenUDP, AdvertiseUDP: s.AdvertiseUDP,
			PeerListener: s.peerListener, TrustFabric: s.Liveness == Fabric, ControlTimeout: s.ControlTimeout,
			IncarnationFile: filepath.Join(cfg.MemberDir(), incarnationFile),
			ViewFile:        votes, Delivery: delivery, Beat: s.Beat, NoRelays: s.Relays == SwitchOff,
			Elections: mode, Members: membersOf(stock.Raft), PreVote: cfg.PreVote, CheckQuorum: true,
			ElectionTimeout: time.Duration(cfg.ElectionTicks) * time.Duration(cfg.TickMs) * time.Millisecond,
		},
	}
}

// HandleDebug is called by the patched server for every listener that serves
// the metrics, and so shares their protection.
func HandleDebug(mux *http.ServeMux) {
	mux.Handle(raftdv.DebugPath, raftdv.DebugHandler())
	for _, p := range admin.Paths() {
		mux.Handle(p, admin.Handler())
	}
}

// HandleServices is called by the patched server for every gRPC server of
// clients, and so shares their protection. With authentication on, only root may
// change something.
func HandleServices(s *grpc.Server, server any) { admin.Register(s, permitRoot(server)) }

// authenticated is what the server is besides the raft of its transport.
type authenticated interface {
	AuthStore() auth.AuthStore
	AuthInfoFromCtx(context.Context) (*auth.AuthInfo, error)
}

// permitRoot asks as etcd does for its own maintenance; nil for a server that
// cannot be asked.
func permitRoot(server any) func(context.Context) error {
	a, ok := server.(authenticated)
	if !ok {
		return nil
	}
	return func(ctx context.Context) error {
		who, err := a.AuthInfoFromCtx(ctx)
		if err == nil {
			err = a.AuthStore().IsAdminPermitted(who)
		}
		if err != nil {
			return status.Error(codes.PermissionDenied, err.Error()+": only root may change this")
		}
		return nil
	}
}

// ServeMetrics is called by the patched server in the place of http.Serve for
// listeners of metrics: gRPC needs HTTP/2, in clear as well.
func ServeMetrics(l net.Listener, h http.Handler) error {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	s := http.Server{Handler: h, Protocols: &p}
	return s.Serve(l)
}

// refused is a transport that does not start.
type refused struct {
	*rafthttp.Transport
	err error
}

func (r refused) Start() error { return r.err }
