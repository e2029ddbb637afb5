package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// objects are the manifests of one file, by type.
type objects struct {
	sets     []*appsv1.StatefulSet
	jobs     []*batchv1.Job
	claims   []*corev1.PersistentVolumeClaim
	services []*corev1.Service
	pods     []*corev1.Pod
	budgets  []*policyv1.PodDisruptionBudget
	policies []*networkingv1.NetworkPolicy
}

// kubernetes decodes one file and checks what its objects say of each other.
func kubernetes(file string) ([]Container, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	objs, err := decode(text)
	if err == nil {
		err = objs.check()
	}
	if err != nil {
		return nil, within(file, err)
	}
	var all []Container
	for _, t := range objs.templates() {
		for _, c := range t.spec.Containers {
			all = append(all, container(file, c))
		}
	}
	return all, nil
}

// within names the file in front of every fault.
func within(file string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, within(file, e))
	}
	return errors.Join(errs...)
}

// decode is strict: unknown and repeated fields are faults.
func decode(text []byte) (*objects, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer documents.Close()
	objs := new(objects)
	var errs []error
	for n := 1; ; n++ {
		document := make([]byte, len(text))
		size, err := documents.Read(document)
		if errors.Is(err, io.EOF) {
			return objs, errors.Join(errs...)
		}
		if err == nil {
			err = objs.add(decoder, document[:size])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("document %d: %w", n, err))
		}
	}
}

func (o *objects) add(decoder runtime.Decoder, document []byte) error {
	obj, _, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return err
	}
	switch obj := obj.(type) {
	case *appsv1.StatefulSet:
		o.sets = append(o.sets, obj)
	case *batchv1.Job:
		o.jobs = append(o.jobs, obj)
	case *corev1.PersistentVolumeClaim:
		o.claims = append(o.claims, obj)
	case *corev1.Service:
		o.services = append(o.services, obj)
	case *corev1.Pod:
		o.pods = append(o.pods, obj)
	case *policyv1.PodDisruptionBudget:
		o.budgets = append(o.budgets, obj)
	case *networkingv1.NetworkPolicy:
		o.policies = append(o.policies, obj)
	default:
		return fmt.Errorf("%T is nothing that is checked here: teach it to add", obj)
	}
	return nil
}

func container(file string, c corev1.Container) Container {
	out := Container{File: file, Name: c.Name, Image: c.Image, Command: append(c.Command, c.Args...)}
	for _, v := range c.Env {
		e := Var{Name: v.Name, Value: v.Value}
		if v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
			e.Field = v.ValueFrom.FieldRef.FieldPath
		}
		out.Env = append(out.Env, e)
	}
	return out
}
