"""Reading PromQL and SQL as far as grafana/check has to."""

import datetime
import re

WORDS = {"and", "or", "unless", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "atan2"}


def names_in(query):
    """The names of series in PromQL."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\boffset\s+\S+", " ", bare)
    found = re.findall(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return {name for name in found if name not in WORDS}


def names_of_metrics(text):
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in text.splitlines() if line and line[0] != "#"}


def expand_sql(query, begin, end, interval="60s"):
    """Macros as Grafana's PostgreSQL data source expands them, except for what it fills in where there are no rows."""
    stamp = lambda moment: datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def macro(match):
        name, arguments = match[1], [argument.strip() for argument in match[2].split(",")]
        if name == "__timeFilter":
            return f"{arguments[0]} BETWEEN '{stamp(begin)}' AND '{stamp(end)}'"
        if name in ("__timeGroup", "__timeGroupAlias"):
            if arguments[1] != interval:
                raise ValueError(f"{match[0]}: not by $__interval")
            seconds = interval[:-1]
            return f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}" + (' AS "time"' if name == "__timeGroupAlias" else "")
        if name == "__unixEpochFrom":
            return str(int(begin))
        if name == "__unixEpochTo":
            return str(int(end))
        raise ValueError(f"a macro that this check does not know: {match[0]}")

    query = re.sub(r"\$(\w+)\(([^)]*)\)", macro, query.replace("$__interval", interval))
    if "$" in query:
        raise ValueError(f"a variable that this check does not know: {query}")
    return query


def partitions_read(plan):
    if isinstance(plan, list):
        return set().union(*map(partitions_read, plan)) if plan else set()
    if not isinstance(plan, dict):
        return set()
    found = {plan["Relation Name"]} if re.match(r"analytics_\w+_\d{8}$", plan.get("Relation Name", "")) else set()
    return found.union(*(partitions_read(value) for value in plan.values()))
