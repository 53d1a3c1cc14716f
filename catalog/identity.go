package catalog

import "strings"

var (
	identityKeys = newKeys("api_key", "jwt", "trusted_headers")
	apiKeyKeys   = newKeys("header")
	jwtKeys      = newKeys("issuer!", "audiences", "jwks!", "claims")
	jwksKeys     = newKeys("file", "uri")
	claimKeys    = newKeys("user", "plan")
	trustedKeys  = newKeys("user!", "session", "plan", "secret!")
	edgeKeys     = newKeys("header!", "value!")
)

func (d *decoder) identity(v value) {
	id := &d.cat.Identity
	var trusted value
	d.object(v, identityKeys, func(key string, v value) {
		switch key {
		case "api_key":
			d.object(v, apiKeyKeys, func(_ string, v value) {
				set(&id.APIKeyHeader)(d.header(v))
			})
		case "jwt":
			id.JWT = d.jwt(v)
		case "trusted_headers":
			trusted = v
		}
	})
	if trusted.Node != nil {
		// Envoy's jwt_authn reads its token from authorization.
		used := headerNames{"authorization": "credentials", id.APIKeyHeader: "API keys"}
		id.Trusted = d.trusted(trusted, used)
	}
}

func (d *decoder) jwt(v value) *JWT {
	j := &JWT{UserClaim: "sub", PlanClaim: "plan"}
	d.object(v, jwtKeys, func(key string, v value) {
		switch key {
		case "issuer":
			set(&j.Issuer)(d.name(v))
		case "audiences":
			j.Audiences = distinct(d, v, d.name)
		case "jwks":
			d.jwks(v, j)
		case "claims":
			d.object(v, claimKeys, func(key string, v value) {
				if key == "user" {
					set(&j.UserClaim)(d.name(v))
				} else {
					set(&j.PlanClaim)(d.name(v))
				}
			})
		}
	})
	return j
}

func (d *decoder) jwks(v value, j *JWT) {
	given := 0
	ok := d.object(v, jwksKeys, func(key string, v value) {
		given++
		if key == "file" {
			set(&j.JWKSFile)(d.filename(v))
			d.cat.keySet = Fault{File: d.src.Name, Line: v.at.line, Col: v.at.col, Path: v.place.String()}
			return
		}
		u, ok := d.link(v, "https", "http")
		if !ok {
			return
		}
		host, _, ok := d.host(v, u)
		switch {
		case !ok:
		case u.Scheme == "http" && !isLoopback(host):
			d.fault(v, "must begin with https://: whoever can change these keys can be any user")
		case strings.Contains(v.Value, "#"):
			d.fault(v, "must not have a fragment (#)")
		default:
			j.JWKSURI = v.Value
		}
	})
	if ok && given != 1 {
		d.faultKey(v, "", "must have one of file and uri")
	}
}

// headerNames says what a header is used for already.
type headerNames map[string]string

func (d *decoder) trusted(v value, used headerNames) *TrustedHeaders {
	t := &TrustedHeaders{}
	header := func(to *string, v value) {
		name, ok := d.header(v)
		if !ok {
			return
		}
		if other, twice := used[name]; twice {
			d.fault(v, "this header carries %s already", other)
			return
		}
		used[name] = v.place.String()
		*to = name
	}
	d.object(v, trustedKeys, func(key string, v value) {
		switch key {
		case "user":
			header(&t.User, v)
		case "session":
			header(&t.Session, v)
		case "plan":
			header(&t.Plan, v)
		case "secret":
			d.object(v, edgeKeys, func(key string, v value) {
				if key == "header" {
					header(&t.SecretHeader, v)
				} else {
					set(&t.Secret)(d.secret(v))
				}
			})
		}
	})
	return t
}
