package compat

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/projectcalico/api/pkg/lib/numorstring"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// filler makes random values. Of the fields that can be absent about a quarter are, so that both cases are seen, and of
// the others about a fifth are zero.
type filler struct{ *rand.Rand }

// object fills a pointer to an object and says what it is.
func (f filler) object(object any, kind string) {
	v := reflect.ValueOf(object).Elem()
	f.value(v, "")
	v.FieldByName("TypeMeta").Set(reflect.ValueOf(metav1.TypeMeta{APIVersion: "projectcalico.org/v3", Kind: kind}))
	v.FieldByName("ObjectMeta").Set(reflect.ValueOf(metav1.ObjectMeta{
		Name: f.word(), Namespace: f.word(), UID: types.UID(f.word()), ResourceVersion: "12",
		Labels: map[string]string{f.word(): f.word()}, Annotations: map[string]string{f.word(): f.word()},
		CreationTimestamp: f.time(),
	}))
}

// value fills v, which belongs to a field of that JSON name.
func (f filler) value(v reflect.Value, name string) {
	if f.special(v, name) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if f.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.value(v.Elem(), name)
			switch v.Elem().Kind() {
			case reflect.String: // one that is empty passes no validation
				v.Elem().SetString(f.word())
			case reflect.Slice: // one that is there but empty is not the same as none
				if v.Elem().IsNil() {
					v.Elem().Set(reflect.MakeSlice(v.Elem().Type(), 0, 0))
				}
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.IsExported() && field.Type != reflect.TypeFor[metav1.ObjectMeta]() {
				f.value(v.Field(i), tag)
			}
			if field.Type.Kind() == reflect.String && options == "" { // it is needed
				v.Field(i).SetString(f.word())
			}
		}
	case reflect.Slice:
		if n := f.IntN(4); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				f.value(v.Index(i), name)
			}
		}
	case reflect.Map:
		if f.IntN(4) > 0 {
			element := reflect.New(v.Type().Elem()).Elem()
			f.value(element, name)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), element)
		}
	default:
		f.scalar(v)
	}
}

func (f filler) scalar(v reflect.Value) {
	if f.IntN(5) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.word())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64: // some are a byte on the other side
		v.SetInt(f.Int64N(1 << 8))
	case reflect.Uint8:
		v.SetUint(f.Uint64N(1 << 8))
	case reflect.Uint16:
		v.SetUint(f.Uint64N(1 << 16))
	case reflect.Uint32, reflect.Uint64: // some have a sign on the other side
		v.SetUint(f.Uint64N(1 << 31))
	case reflect.Float64:
		v.SetFloat(float64(f.IntN(100_000)) / 8)
	default:
		panic(fmt.Sprintf("no way to fill a %s", v.Type()))
	}
}

// special fills types that have a JSON form of their own.
func (f filler) special(v reflect.Value, name string) bool {
	switch p := v.Addr().Interface().(type) {
	case *metav1.Time:
		*p = f.time()
	case *metav1.Duration:
		p.Duration = f.duration()
	case *intstr.IntOrString:
		*p = f.intOrString(name)
	case *numorstring.Port, *numorstring.Protocol:
		text, err := f.intOrString(name).MarshalJSON()
		if err == nil {
			err = v.Addr().MethodByName("UnmarshalJSON").Interface().(func([]byte) error)(text)
		}
		if err != nil {
			panic(err)
		}
	default:
		return false
	}
	return true
}

// intOrString is a protocol or, under any other name, a port.
func (f filler) intOrString(name string) intstr.IntOrString {
	if strings.HasSuffix(strings.ToLower(name), "protocol") {
		if f.IntN(2) == 0 {
			return intstr.FromInt(1 + f.IntN(255))
		}
		return intstr.FromString([]string{"TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"}[f.IntN(6)])
	}
	switch port := 1 + f.IntN(30_000); f.IntN(3) {
	case 0:
		return intstr.FromInt(port)
	case 1:
		return intstr.FromString(fmt.Sprintf("%d:%d", port, port+1+f.IntN(1_000)))
	default:
		return intstr.FromString("web")
	}
}

// word is a string that is also a duration, which some strings must be.
func (f filler) word() string { return f.duration().String() }

func (f filler) duration() time.Duration {
	return time.Duration(1+f.IntN(100_000)) * time.Second
}

func (f filler) time() metav1.Time {
	return metav1.Unix(f.Int64N(1<<32), 0)
}
