package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
)

const (
	serverModule = "go.etcd.io/etcd/server/v3"
	rafthttpPath = serverModule + "/etcdserver/api/rafthttp"
	configPath   = serverModule + "/config"
	plugPath     = "github.com/raftdv/dv/raftdv/plug"
	plugName     = "dvplug"

	wantLiterals   = 1
	wantAssertions = 2
	wantMetrics    = 1
	wantServices   = 1
	wantServe      = 1

	transportDir = "etcdserver"
	metricsDir   = "etcdserver/api/etcdhttp"
	metricsFunc  = "HandleMetrics"
	servicesDir  = "etcdserver/api/v3rpc"
	servicesFunc = "Server"
	serveDir     = "embed"
	serveFunc    = "Serve"
	httpPath     = "net/http"
)

// A site is one place of a file that the generator knows: a use of
// rafthttp.Transport, or of what serves metrics and clients.
type site struct {
	kind     siteKind
	pos      token.Position
	from, to int    // what is replaced, or goes into the hook's call; equal where something is added
	param    string // the variables that the hook is handed
}

type siteKind int

const (
	literal siteKind = iota
	assertion
	// metrics is the function that adds /metrics to a listener.
	metrics
	// services is the function that makes the gRPC server of clients.
	services
	// serve is the call that serves a listener of metrics.
	serve
	// foreign is any other use: a transport that would pass by the hook.
	foreign
)

func (k siteKind) String() string {
	return [...]string{"literal", "assertion", metricsFunc, servicesFunc, serveFunc, "other use"}[k]
}

// An edit replaces src[from:to] by text.
type edit struct {
	from, to int
	text     string
}

// A source is one parsed file with its sites.
type source struct {
	name  string // relative to the module, with slashes
	text  []byte
	fset  *token.FileSet
	file  *ast.File
	sites []site
}

// parseSource returns nil for a file without any site.
func parseSource(name string, text []byte) (*source, error) {
	s := &source{name: name, text: text, fset: token.NewFileSet()}
	var err error
	if s.file, err = parser.ParseFile(s.fset, name, text, parser.SkipObjectResolution); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if spec := importOf(s.file, rafthttpPath); spec != nil {
		s.findTransports(spec)
	}
	switch path.Dir(name) {
	case metricsDir:
		s.findMetrics()
	case servicesDir:
		s.findServices()
	case serveDir:
		s.findServe()
	}
	if len(s.sites) == 0 {
		return nil, nil
	}
	return s, nil
}

// findMetrics finds func HandleMetrics(mux *http.ServeMux).
func (s *source) findMetrics() {
	for _, d := range s.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Name.Name != metricsFunc || fn.Body == nil {
			continue
		}
		params := fn.Type.Params.List
		if len(params) != 1 || len(params[0].Names) != 1 || !isPointerTo(params[0].Type, "http", "ServeMux") {
			continue
		}
		end := fn.Body.Lbrace + 1
		if n := len(fn.Body.List); n > 0 {
			end = fn.Body.List[n-1].End()
		}
		s.add(metrics, end, end)
		s.sites[len(s.sites)-1].param = params[0].Names[0].Name
	}
}

// findServices finds func Server(s …, …) *grpc.Server, which ends in the return
// of a variable. The hook is handed the etcd server as well.
func (s *source) findServices() {
	for _, d := range s.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Name.Name != servicesFunc || fn.Body == nil || len(fn.Body.List) == 0 {
			continue
		}
		if results := fn.Type.Results; results == nil || len(results.List) != 1 || !isPointerTo(results.List[0].Type, "grpc", "Server") {
			continue
		}
		params := fn.Type.Params.List
		if len(params) == 0 || len(params[0].Names) != 1 || params[0].Names[0].Name == "_" {
			continue
		}
		last, ok := fn.Body.List[len(fn.Body.List)-1].(*ast.ReturnStmt)
		if !ok || len(last.Results) != 1 {
			continue
		}
		if made, ok := last.Results[0].(*ast.Ident); ok {
			s.add(services, last.Pos(), last.Pos())
			s.sites[len(s.sites)-1].param = made.Name + ", " + params[0].Names[0].Name
		}
	}
}

// findServe finds calls of http.Serve.
func (s *source) findServe() {
	spec := importOf(s.file, httpPath)
	if spec == nil {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != serveFunc {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == localName(spec) {
			s.add(serve, sel.Pos(), sel.End())
		}
		return true
	})
}

func isPointerTo(e ast.Expr, pkg, name string) bool {
	star, ok := e.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

func (s *source) findTransports(spec *ast.ImportSpec) {
	local := localName(spec)
	if local == "." { // uses cannot be told from others
		s.add(foreign, spec.Pos(), spec.End())
	}
	known := map[*ast.SelectorExpr]bool{}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.UnaryExpr:
			if sel := literalOf(n, local); sel != nil {
				known[sel] = true
				s.add(literal, n.Pos(), n.End())
			}
		case *ast.TypeAssertExpr:
			if sel := pointerTo(n.Type, local); sel != nil {
				known[sel] = true
				s.add(assertion, n.Type.Pos(), n.Type.End())
			}
		case *ast.SelectorExpr:
			if isTransport(n, local) && !known[n] {
				s.add(foreign, n.Pos(), n.End())
			}
		}
		return true
	})
}

func (s *source) add(kind siteKind, from, to token.Pos) {
	s.sites = append(s.sites, site{
		kind: kind,
		pos:  s.fset.Position(from),
		from: s.offset(from),
		to:   s.offset(to),
	})
}

func (s *source) offset(p token.Pos) int { return s.fset.Position(p).Offset }

// literalOf returns the type of &rafthttp.Transport{…}.
func literalOf(n *ast.UnaryExpr, local string) *ast.SelectorExpr {
	if n.Op != token.AND {
		return nil
	}
	lit, ok := n.X.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	if sel, ok := lit.Type.(*ast.SelectorExpr); ok && isTransport(sel, local) {
		return sel
	}
	return nil
}

// pointerTo returns the rafthttp.Transport of *rafthttp.Transport.
func pointerTo(e ast.Expr, local string) *ast.SelectorExpr {
	star, ok := e.(*ast.StarExpr)
	if !ok {
		return nil
	}
	if sel, ok := star.X.(*ast.SelectorExpr); ok && isTransport(sel, local) {
		return sel
	}
	return nil
}

func isTransport(sel *ast.SelectorExpr, local string) bool {
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == local && sel.Sel.Name == "Transport"
}

func importOf(f *ast.File, importPath string) *ast.ImportSpec {
	for _, spec := range f.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil && p == importPath {
			return spec
		}
	}
	return nil
}

func localName(spec *ast.ImportSpec) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	p, _ := strconv.Unquote(spec.Path.Value)
	return path.Base(p)
}

// splice returns the text of s with the hook in place.
func (s *source) splice() ([]byte, error) {
	last := s.offset(s.file.Imports[len(s.file.Imports)-1].End())
	edits := []edit{{last, last, fmt.Sprintf("; %s %q", plugName, plugPath)}}
	for _, at := range s.sites {
		switch at.kind {
		case literal:
			cfg, err := s.configParam(at)
			if err != nil {
				return nil, err
			}
			edits = append(edits,
				edit{at.from, at.from, fmt.Sprintf("%s.New(%s, ", plugName, cfg)},
				edit{at.to, at.to, ")"})
		case assertion:
			edits = append(edits, edit{at.from, at.to, plugName + ".Transport"})
		case metrics:
			edits = append(edits, edit{at.from, at.from, fmt.Sprintf("; %s.HandleDebug(%s)", plugName, at.param)})
		case services:
			edits = append(edits, edit{at.from, at.from, fmt.Sprintf("%s.HandleServices(%s); ", plugName, at.param)})
		case serve:
			edits = append(edits, edit{at.from, at.to, plugName + ".ServeMetrics"})
		}
	}
	return apply(s.text, edits), nil
}

// configParam names the parameter of type config.ServerConfig of the function
// that holds the literal: the hook needs it.
func (s *source) configParam(at site) (string, error) {
	spec := importOf(s.file, configPath)
	for _, d := range s.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || s.offset(fn.Pos()) > at.from || s.offset(fn.End()) < at.to || spec == nil {
			continue
		}
		for _, p := range fn.Type.Params.List {
			sel, ok := p.Type.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "ServerConfig" || len(p.Names) != 1 {
				continue
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == localName(spec) {
				return p.Names[0].Name, nil
			}
		}
	}
	return "", fmt.Errorf("%s: the function around &rafthttp.Transport{…} has no parameter of type config.ServerConfig to hand to the hook", at.pos)
}

func apply(src []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var out []byte
	last := 0
	for _, e := range edits {
		out = append(append(out, src[last:e.from]...), e.text...)
		last = e.to
	}
	return append(out, src[last:]...)
}
