"""The data plane: one coroutine per request, one verb per file.

    pipeline       the list of verbs, in order
    authenticate   bearer token -> principal
    admit          body -> checked request
    route          model name -> plan: its targets, and the rules for them
    choose         plan -> target, by need, health, tier, weight, conversation
    answer         one attempt, from its place to its end
    attempt        send it, with its two journal records
    relay, stream  pass the reply on
    learn          tell the target's health how it went
    persevere      try elsewhere, again, or go on where an answer broke off
    hedge          ask a second target when the first is late
    list           the models a key may use

It knows its neighbours only as the Protocols in `core/ports.py`.
"""
