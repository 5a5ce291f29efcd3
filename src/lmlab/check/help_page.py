"""What `--help` prints: Hydra's own template for it, filled in without composing a config."""

from string import Template

from lmlab.check.yaml_files import CONF, groups


def help_text() -> str:
    import yaml

    template = yaml.safe_load((CONF / "hydra" / "help" / "lmlab.yaml").read_text(encoding="utf-8"))["template"]
    shown = {group: options for group, options in groups().items() if options and "/" not in group}
    width = max(map(len, shown), default=0)
    lines = [f"  {group:<{width}}  {', '.join(options)}" for group, options in shown.items()]
    return Template(template).safe_substitute(APP_CONFIG_GROUPS="\n".join(lines).strip()).rstrip()
