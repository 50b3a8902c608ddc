package config

import (
	"fmt"
	"math/bits"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Setting is one entry of the Table.
type Setting struct {
	// Name is the setting's, as in Calico: FELIX_<Name> in the environment, <Name> in the file and, with a
	// lower-case first letter, in the FelixConfiguration.
	Name    string
	Default string
	// Doc says what it does, and Values what may be written.
	Doc, Values string
	// Local: not from a FelixConfiguration.
	Local bool
	// AtStart: read once. A change ends the process, and its supervisor starts it again.
	AtStart bool

	set func(c *Config, text string) error
	get func(c *Config) any
}

// kind is how a setting's text is read, and what may be written.
type kind[T comparable] struct {
	values string
	parse  func(string) (T, error)
}

// setting makes an entry of the Table.
func setting[T comparable](name, def string, k kind[T], field func(*Config) *T, doc string) Setting {
	return Setting{Name: name, Default: def, Doc: doc, Values: k.values,
		set: func(c *Config, text string) error {
			value, err := k.parse(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("write %s", k.values)
			}
			*field(c) = value
			return nil
		},
		get: func(c *Config) any { return *field(c) },
	}
}

// Field is the setting's name in the FelixConfiguration.
func (s Setting) Field() string {
	first := s.Name[:1]
	for _, acronym := range []string{"VXLAN", "NAT", "MTU", "IP"} {
		if strings.HasPrefix(s.Name, acronym) {
			first = acronym
		}
	}
	return strings.ToLower(first) + s.Name[len(first):]
}

// valueIn returns what a source has for the setting: the text, and the value if the text is valid.
func (s Setting) valueIn(source Source) (text string, value any, usable bool) {
	for name, text := range source.Values {
		if strings.EqualFold(name, s.Name) {
			c := &Config{}
			err := s.set(c, text)
			return text, s.get(c), err == nil
		}
	}
	return "", nil, false
}

func (s Setting) local() Setting   { s.Local, s.AtStart = true, true; return s }
func (s Setting) atStart() Setting { s.AtStart = true; return s }

var errValue = fmt.Errorf("not a value of this setting")

func text() kind[string] {
	return kind[string]{"any text", func(s string) (string, error) { return s, nil }}
}

func pattern(values, expression string) kind[string] {
	re := regexp.MustCompile(expression)
	return kind[string]{values, func(s string) (string, error) {
		if !re.MatchString(s) {
			return "", errValue
		}
		return s, nil
	}}
}

func regularExpression() kind[string] {
	return kind[string]{"a regular expression", func(s string) (string, error) {
		_, err := regexp.Compile(s)
		return s, err
	}}
}

// oneOf reads one of several words in any case, and gives it as it is written here.
func oneOf(words ...string) kind[string] {
	return kind[string]{"one of " + strings.Join(words, ", "), func(s string) (string, error) {
		for _, word := range words {
			if strings.EqualFold(word, s) {
				return word, nil
			}
		}
		return "", errValue
	}}
}

func boolean() kind[bool] {
	return kind[bool]{"true or false", func(s string) (bool, error) {
		switch strings.ToLower(s) {
		case "true", "1", "yes", "y", "t":
			return true, nil
		case "false", "0", "no", "n", "f":
			return false, nil
		}
		return false, errValue
	}}
}

func integer(low, high int) kind[int] {
	return kind[int]{fmt.Sprintf("a whole number, %d to %d", low, high), func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err == nil && (n < low || n > high) {
			err = errValue
		}
		return n, err
	}}
}

func port() kind[uint16] {
	return kind[uint16]{"a port, 0 to 65535", func(s string) (uint16, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		return uint16(n), err
	}}
}

func bitmask() kind[uint32] {
	return kind[uint32]{"a 32-bit mask with at least 4 bits set, for example 0xffff0000",
		func(s string) (uint32, error) {
			n, err := strconv.ParseUint(s, 0, 32)
			if err == nil && bits.OnesCount64(n) < 4 {
				err = errValue
			}
			return uint32(n), err
		}}
}

func address() kind[netip.Addr] {
	return kind[netip.Addr]{"an IP address, or nothing", func(s string) (netip.Addr, error) {
		if s == "" {
			return netip.Addr{}, nil
		}
		return netip.ParseAddr(s)
	}}
}

// seconds reads a number of seconds as the environment has it, or a duration as the resource has it.
func seconds() kind[time.Duration] {
	return kind[time.Duration]{"a number of seconds, or a duration such as 90s or 1m30s; 0 is off",
		func(s string) (time.Duration, error) {
			if n, err := strconv.ParseFloat(s, 64); err == nil {
				if n < 0 || n > 1e9 {
					return 0, errValue
				}
				return time.Duration(n * float64(time.Second)), nil
			}
			d, err := time.ParseDuration(s)
			if err == nil && d < 0 {
				err = errValue
			}
			return d, err
		}}
}
