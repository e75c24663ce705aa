# Varnish before the embedded origin, as its users set it up. Started with
# `varnishd -F -f varnish.vcl -a 127.0.0.1:19402 -s malloc,4g`.
vcl 4.1;

backend origin {
    .host = "127.0.0.1";
    .port = "19400";
    .connect_timeout = 2s;
    .first_byte_timeout = 5s;
    .between_bytes_timeout = 1s;
}

sub vcl_recv {
    unset req.http.Cookie;
    return (hash);
}

sub vcl_backend_response {
    if (beresp.status == 200) {
        set beresp.ttl = 1h;
    }
}
