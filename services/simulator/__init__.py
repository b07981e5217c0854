"""The simulator: SendGrid, Amazon SES and Postmark on this machine; nothing leaves it.

Start it as a process of its own, and stop it with Ctrl-C or SIGTERM:

    python -m services.simulator --port 8025 --mailbox data/simulator.db

The control listener is then at http://127.0.0.1:8025 (open it in a browser to read the
mails), SendGrid at port 8026, SES at 8027 and Postmark at 8028. Or in a test:

    with Simulator() as sim:
        client = SendGridAPIClient("SG.any", host=sim.base_urls[EspName.SENDGRID])
        sim.behave(EspName.SES, Mode.THROTTLE, after=150, count=3)

Every key is accepted, a missing one is not. The limits and errors are the ESPs' own; a
size that they give in MB is taken as millions of bytes, the narrow reading.

Orders (`esp` is sendgrid, ses or postmark; an order replaces the one before):

    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/behaviour \
         -d '{"esp": "ses", "mode": "throttle", "after": 150, "count": 3}'
    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/limits \
         -d '{"esp": "ses", "per_second": 14, "daily_limit": 50000}'
    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/domains \
         -d '{"domains": ["example.com"]}'
    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/reset -d '{}'

    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/webhooks \
         -d '{"to": "http://127.0.0.1:5000", "rates": {"open": 0.3, "click": 0.05}}'
    curl -H 'Content-Type: application/json' http://127.0.0.1:8025/block \
         -d '{"esp": "sendgrid", "provider": "gmail", "blocked": true}'

Webhooks are signed with keys of this run, which `webhook_settings` has; the app in sandbox
mode takes them from there. As with SNS, those of SES begin with a SubscriptionConfirmation, and
the others come once a ConfirmSubscription was posted to SES's port.

Reading: `/stats`, `/mails?esp=&to=&limit=&before=` (newest first, without bodies),
`/mails/<id>`, `/mails/<id>.html`, `/duplicates`.

A behaviour has a mode and, all optional: `after` (so many recipients are taken first),
`count` (calls that it holds for), `latency_s`, `scope` (send, lookup, all), `taken`,
`html`, `per_message`, `every`, `codes`. `modes.Behaviour` says what each one means.

    mode               mails    what the client sees
    ok                 taken    what the real ESP answers
    unauthorized       not      401; SES 403 UnrecognizedClientException
    suspended          not      403; AccountSuspendedException; ErrorCode 413
    unverified         not      403; MessageRejected "not verified"; ErrorCode 400
    throttle           not      429, SendGrid's with X-RateLimit-Reset
    quota              not      401 "Maximum credits exceeded"; daily quota; ErrorCode 405
    message_rejected   not      400 about the content; MessageRejected; ErrorCode 300 'From'
    too_large          not      413
    error_500 ... 504  not (*)  the status in the ESP's shape, or as a page (`html`)
    maintenance        not      503 and ErrorCode 100; Postmark only
    reset_before       not      a reset before the body is read
    reset_after        taken    a reset instead of the answer
    close_before       not      the connection closes without an answer
    close_after        taken    the same
    hang_before        not      no answer, ever
    hang_after         taken    the same
    refuse             not      connection refused
    garbage            taken (*) the status of success, and no JSON
    empty              taken (*) 200 and nothing
    cut                taken (*) an answer shorter than its Content-Length
    short_results      taken    the last result is missing; not at SendGrid
    partial            some     every third fails; at SendGrid a 400 names them, none is taken
    redirect           not      302 to the control listener, which counts who follows
    drip               taken    the true answer, byte by byte

    (*) unless the order says otherwise with `taken`

A recipient's address tells its fate, by the local part up to `+` or `@`. All but the
last two are taken, and the event comes back by webhook:

    bounce@ soft@ block@ defer@ complaint@ open@ click@ unsubscribe@
    inactive@   refused by Postmark (406), taken by the others
    invalid@    refused by all three
"""
