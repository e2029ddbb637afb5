package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/mesh"
	"github.com/raftdv/dv/ordered"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("table", flag.ContinueOnError)
	id := flags.Int("id", 0, "this member: 1 for the first of the peers")
	peers := flags.String("peers", "", "addresses of all members, in the order of their ids")
	listen := flags.String("listen", "127.0.0.1:8001", "address for clients")
	dir := flags.String("dir", "", "directory of this member's own")
	isNew := flags.Bool("new", false, "this member never ran before")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addresses := strings.Split(*peers, ",")
	if *id < 1 || *id > len(addresses) {
		return fmt.Errorf("--id is %d: want 1 to %d, the number of --peers", *id, len(addresses))
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	m, err := start(*id, addresses, *dir, *isNew, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: m, ReadHeaderTimeout: time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return m.close()
}

// member is a table, its group, and what clients call.
type member struct {
	*table
	done chan error
}

func start(id int, addresses []string, dir string, isNew bool, log *slog.Logger) (*member, error) {
	cfg := ordered.GroupConfig{Self: fabric.MemberID(id), Dir: dir, NewMember: isNew, Logger: log}
	peers := map[fabric.MemberID]string{}
	for i, a := range addresses {
		peers[fabric.MemberID(i+1)] = a
		cfg.Voters = append(cfg.Voters, fabric.MemberID(i+1))
	}
	cfg.Attach = func(h fabric.Handler, incarnation uint64) (fabric.Port, error) {
		return mesh.New(mesh.Config{Self: cfg.Self, Incarnation: incarnation, Listen: addresses[id-1], Peers: peers, Logger: log}, h)
	}
	g, err := ordered.Open(cfg)
	if err != nil {
		return nil, err
	}
	m := &member{newTable(g), make(chan error, 1)}
	go func() { m.done <- m.run(context.Background()) }()
	return m, nil
}

func (m *member) close() error {
	err := m.group.Close()
	if e := <-m.done; !errors.Is(e, ordered.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

const (
	writeTimeout = 10 * time.Second
	maxValue     = 1 << 20
)

// ServeHTTP writes on PUT and reads on GET; the path is the key.
func (m *member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/")
	switch r.Method {
	case http.MethodPut:
		value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
		defer cancel()
		if err := m.put(ctx, key, string(value)); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		value, ok, err := m.get(key)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case !ok:
			http.Error(w, "no such key", http.StatusNotFound)
		default:
			fmt.Fprintln(w, value)
		}
	default:
		http.Error(w, "PUT or GET", http.StatusMethodNotAllowed)
	}
}
