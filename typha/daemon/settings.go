package daemon

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// environment is the name of the environment variable of a setting.
func (s setting) environment() string { return "TYPHA_" + strings.ToUpper(s.name) }

// value is what a setting is, in the form in which it is given.
func (s setting) value() string {
	switch target := s.target.(type) {
	case *string:
		return *target
	case *time.Duration:
		return (*seconds)(target).String()
	case *int:
		return fmt.Sprint(*target)
	case *bool:
		return fmt.Sprint(*target)
	}
	panic(fmt.Sprintf("daemon: setting %s is a %T", s.name, s.target))
}

// values says what may be given.
func (s setting) values() string {
	switch s.target.(type) {
	case *time.Duration:
		return "seconds"
	case *int:
		return "a whole number"
	case *bool:
		return "true or false"
	}
	return "text"
}

// placeholder is what Markdown would take for HTML.
var placeholder = regexp.MustCompile(`[\w:]*<[\w:<>]+>`)

// WriteDoc writes all settings with their defaults as a table in Markdown.
func WriteDoc(w io.Writer) error {
	defaults, err := parse(nil, nil)
	if err != nil {
		return err
	}
	text := "| setting | default | values | what it does |\n|---|---|---|---|\n"
	for _, s := range defaults.settings() {
		value := s.value()
		if value != "" {
			value = "`" + value + "`"
		}
		text += fmt.Sprintf("| `%s` | %s | %s | %s |\n", s.environment(), value, s.values(),
			placeholder.ReplaceAllString(s.doc, "`$0`"))
	}
	_, err = io.WriteString(w, text)
	return err
}

// usage is what -help begins with.
const usage = `typha serves nodes what they need of the datastore, until it is ended.
  typha [flags]
  typha status [-json]   what the nodes report to the Typha that runs here
  typha settings         the settings as a table in Markdown

Flags, and the environment variables of the same meaning:
`
