#!/usr/bin/env python3
"""Whether docker-compose.yml and what belongs to it fit together and fit the program. Needs no engine, and starts nothing.

    scripts/check-compose.py PROGRAM

Reads the files with the parser that Docker Compose itself is built on (compose-go, from the Go module proxy; a second
run finds it in ${XDG_CACHE_HOME:-~/.cache}/solera), with one broker in each data centre and with three. Then:

- every file that is mounted, copied or named exists, and none is for other eyes than this machine's
- every command line of `solera` has verbs and options that PROGRAM has, and PROGRAM takes every configuration, with the
  secrets that it names
- every name and port that one service is told of another is there
- Kafka's own wrapper, the one in the image, makes a configuration of the files and the environment of each broker, and
  formats a disk by it (with the jars of scripts/kafka-fetch.sh; SOLERA_KAFKA=none leaves it out)
- promtool takes Prometheus' configuration, where scripts/promtool.sh has brought it
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_GO = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solera"
VARIANTS = {
    "one broker": ["docker-compose.yml"],
    "three brokers": ["docker-compose.yml", "deploy/compose/three-brokers.yml"],
}
OURS = "solera:local"
# What the images bring, and nobody mounts. Kafka's are those of its 4.x archives.
IN_IMAGE = {"/opt/kafka/bin/connect-mirror-maker.sh"}
# The ports of all examples: who is to be found there.
KAFKA = {19092: "kafka-eqiad", 29092: "kafka-codfw"}
NODES = {8081: "eqiad-1", 8082: "codfw-1", 8083: "eqiad-2", 8084: "codfw-2"}
# Whose network all nodes have.
MACHINE = "machine"

problems = []
left_out = []


def problem(text):
    problems.append(text)


def must(holds, text):
    if not holds:
        problem(text)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def parser():
    """The program of compose-go, built if need be."""
    program = CACHE / f"compose-go-{COMPOSE_GO.rpartition('@')[2]}" / "cmd"
    if not program.exists():
        if not shutil.which("go"):
            sys.exit("check-compose: Go is missing (1.24 or later), and builds the parser of compose files")
        environment = dict(os.environ, GOBIN=str(program.parent), GOFLAGS="")
        done = run("go", "install", COMPOSE_GO, env=environment)
        if done.returncode:
            sys.exit(f"check-compose: the parser cannot be built: {done.stderr}")
    return program


def load(files):
    """A project as Compose understands it."""
    done = run(parser(), "--format", "json", *files, cwd=ROOT)
    if done.returncode:
        sys.exit(f"check-compose: {' and '.join(files)}: {done.stderr.strip()}")
    project = json.loads(done.stdout)
    for service in project["services"].values():
        environment = service.get("environment") or {}
        if isinstance(environment, list):
            environment = dict(entry.partition("=")[::2] for entry in environment)
        service["environment"] = {name: str(value) for name, value in environment.items()}
    return project


def words(service, key):
    return service.get(key) or []


def mounts(service):
    """What is bound from the repository: the path in the container, and the file."""
    return {
        volume["target"]: Path(volume["source"]) for volume in words(service, "volumes") if volume["type"] == "bind"
    }


def check_files(name, service):
    for target, source in mounts(service).items():
        must(source.is_file(), f"{name}: {source} is mounted, and is no file")
        must(ROOT in source.parents, f"{name}: {source} is not in the repository")
        executes = target in words(service, "entrypoint")
        must(not executes or os.access(source, os.X_OK), f"{name}: {source} cannot be executed")
    targets = [volume["target"] for volume in words(service, "volumes")]
    for word in words(service, "entrypoint") + words(service, "command"):
        for path in re.findall(r"(?:^|=)(/\S+)", word):
            known = path in IN_IMAGE or any(path == target or path.startswith(f"{target}/") for target in targets)
            must(known, f"{name}: nobody brings {path}")


def check_volumes(name, service, project):
    for volume in words(service, "volumes"):
        if volume["type"] == "volume":
            must(volume["source"] in project["volumes"], f"{name}: there is no volume {volume['source']}")
    for other in service.get("depends_on") or {}:
        must(other in project["services"], f"{name}: there is no service {other}")


def check_ports(project):
    taken = {}
    for name, service in project["services"].items():
        for port in words(service, "ports"):
            number = int(port["published"])
            must(port.get("host_ip") == "127.0.0.1", f"{name}: {number} is open to more than this machine")
            must(number not in taken, f"{name} and {taken.get(number)}: both take {number}")
            must(number == port["target"], f"{name}: {port['target']} is {number} outside")
            taken[number] = name
    for number, name in {**KAFKA, **dict.fromkeys(NODES, MACHINE)}.items():
        must(taken.get(number) == name, f"{number} is {taken.get(number)}, and should be {name}")


def check_images(name, service):
    image, _, tag = service["image"].rpartition(":")
    must(image and tag != "latest", f"{name}: {service['image']} is another one tomorrow")
    if image == "apache/kafka":
        pom = (ROOT / "tests/kafka/pom.xml").read_text()
        version = re.search(r"<kafka.version>(.*)</kafka.version>", pom)[1]
        must(tag == version, f"{name}: Kafka {tag}, and the tests run {version}")
    if "build" in service:
        must(service["image"] == OURS, f"{name}: builds {service['image']}")
        dockerfile = Path(service["build"]["context"]) / service["build"]["dockerfile"]
        must(dockerfile.is_file(), f"{name}: no {dockerfile}")


def check_command(where, program, command):
    """Verbs and options of a command line of `solera`."""
    verbs = []
    for word in command:
        if word.startswith("-"):
            break
        verbs.append(word)
    helped = run(program, *verbs, "--help")
    if not verbs or helped.returncode:
        # What follows a verb may be an argument of it.
        verbs = verbs[:1]
        helped = run(program, *verbs, "--help")
    if not verbs or helped.returncode:
        problem(f"{where}: `solera` has no verb {' '.join(command)}")
        return
    options = set(re.findall(r"--[a-z][a-z-]*", helped.stdout))
    for word in command[len(verbs) :]:
        option = word.partition("=")[0]
        if option.startswith("--"):
            must(option in options, f"{where}: `solera {' '.join(verbs)}` has no option {option}")


def prepare(project, scratch):
    """What the nodes find in their volume, by running what makes it."""
    service = project["services"]["prepare"]
    files = mounts(service)
    command = [str(files.get(word, word)) for word in service["entrypoint"] + service["command"][:-1]]
    environment = {"PATH": os.environ["PATH"], **service["environment"]}
    for _ in range(2):
        secrets = {path.name: path.read_text() for path in scratch.glob("*secret*")}
        done = run("sh", *command, scratch, env=environment)
        must(done.returncode == 0, f"prepare: {done.stderr}")
        kept = all((scratch / name).read_text() == secret for name, secret in secrets.items())
        must(kept, "prepare: a second start makes other secrets")
    configs = {path.stem: path.read_text() for path in sorted(scratch.glob("*.yaml"))}
    must(sorted(configs) == sorted(NODES.values()), f"prepare: makes the configurations of {list(configs)}")
    return configs


# Where a configuration says on which ports a node listens.
LISTEN_PORT = re.compile(r"^listen_port: (\d+)$", re.M)
ADMIN_PORT = re.compile(r"^admin: { listen: 127\.0\.0\.1:(\d+) }$", re.M)
PEER_PORT = re.compile(r"^peers:\n  listen: 127\.0\.0\.1:(\d+)$", re.M)


def check_node(program, name, config, project, scratch):
    """One configuration: the program takes it, and it fits the service and its neighbours."""
    file = scratch / f"{name}.yaml"
    file.write_text(config.replace("/etc/solera/", f"{scratch}/"))
    done = run(program, "check-config", file)
    must(done.returncode == 0, f"{name}: its configuration cannot be used: {' / '.join(done.stdout.splitlines())}")
    for secret in re.findall(r"file: (\S+?)[ ,}]", file.read_text()):
        must(Path(secret).is_file(), f"{name}: nobody makes {secret}")

    service = project["services"].get(name)
    if not service:
        problem(f"{name}: is configured, and is no service")
        return
    ports = [pattern.findall(config) for pattern in (LISTEN_PORT, ADMIN_PORT, PEER_PORT)]
    port = next(port for port, node in NODES.items() if node == name)
    must(ports == [[str(port)], [str(port + 1000)], [str(port - 1000)]], f"{name}: its ports are {ports}")
    asked = re.findall(r"http://127\.0\.0\.1:(\d+)", " ".join(service["healthcheck"]["test"]))
    must(asked == [str(port)], f"{name}: its health is asked for on {asked}")
    must(service.get("network_mode") == f"service:{MACHINE}", f"{name}: has a network of its own")
    must(f"/etc/solera/{name}.yaml" in words(service, "command"), f"{name}: starts with another's configuration")
    own = name.rpartition("-")[0]
    must(f"\ndc: {own}\n" in config, f"{name}: is in another data centre")
    peers = sorted(port - 1000 for port, node in NODES.items() if not node.startswith(own))
    found = sorted(int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", config))
    must(found == peers, f"{name}: knows peers on {found}, and they are on {peers}")


def listens(name, project):
    """On which ports a service can be asked by others."""
    if name == MACHINE:
        return set(NODES)
    listeners = project["services"][name]["environment"].get("KAFKA_LISTENERS", "")
    return {int(port) for port in re.findall(r":(\d+)", listeners)}


def check_names(name, texts, project):
    """Every service that this one is told of is there, and listens there."""
    for where, text in texts.items():
        text = "\n".join(line.partition("#")[0] for line in text.splitlines())
        for host, port in re.findall(r"(?<![\w.-])([a-z][a-z0-9-]+(?:\.[a-z0-9-]+)*):(\d{2,5})\b", text):
            if host not in project["services"]:
                problem(f"{name}: {where} names {host}, which is no service")
            elif int(port) not in listens(host, project):
                problem(f"{name}: {where} names {host}:{port}, and that listens on {sorted(listens(host, project))}")


def told(service):
    """What a service is told: its environment and the files that are mounted."""
    files = {target: source.read_text() for target, source in mounts(service).items() if source.is_file()}
    return {**service["environment"], **files}


def check_advertised(name, service):
    advertised = service["environment"].get("KAFKA_ADVERTISED_LISTENERS")
    if advertised:
        must(f"INTERNAL://{name}:" in advertised, f"{name}: others are told {advertised}")
        external = re.search(r"EXTERNAL://127.0.0.1:(\d+)", advertised)
        published = [port["published"] for port in words(service, "ports")]
        must(external and [external[1]] == published, f"{name}: advertises {advertised}, publishes {published}")


def check_mirror(name, service):
    for source in mounts(service).values():
        if source.suffix == ".properties" and source.is_file():
            lines = [line for line in source.read_text().splitlines() if not line.startswith("#")]
            for variable in re.findall(r"\$\{env:(\w+)\}", "\n".join(lines)):
                must(service["environment"].get(variable), f"{name}: {source.name} takes {variable}, which is not set")


def check_broker(name, service, jars):
    """What the image does at its start: its wrapper makes a configuration and formats a disk."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for folder in ("defaults", "mounted", "final"):
            (scratch / folder).mkdir()
            (scratch / folder / "server.properties").touch()
        for target, source in mounts(service).items():
            if target.startswith("/mnt/shared/config/") and source.is_file():
                shutil.copy(source, scratch / "mounted" / Path(target).name)
        # Its disk is elsewhere here: the last of two for one name counts.
        environment = {"PATH": os.environ["PATH"], **service["environment"], "KAFKA_LOG_DIRS": str(scratch / "data")}
        places = ["-D", scratch / "defaults", "-M", scratch / "mounted", "-F", scratch / "final"]
        java = ["java", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", f"{jars}/*"]
        done = run(*java, "kafka.docker.KafkaDockerWrapper", "setup", *places, env=environment)
        made = scratch / "data/meta.properties"
        if done.returncode or not made.exists():
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            problem(f"{name}: Kafka does not take it: {' / '.join(said[:3])}")
            return
        must(f"cluster.id={service['environment']['CLUSTER_ID']}" in made.read_text(), f"{name}: another cluster")
        must(f"node.id={service['environment']['KAFKA_NODE_ID']}" in made.read_text(), f"{name}: another node")


def check_dockerfile(program):
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M):
        for source in line.split()[:-1]:
            must((ROOT / source).exists(), f"Dockerfile: no {source} to copy")
    check_command("Dockerfile", program, json.loads(re.search(r"^CMD (\[.*\])$", text, re.M)[1]))
    manifest = (ROOT / "Cargo.toml").read_text()
    profile = re.search(r"--profile (\S+)", text)[1]
    must(f"[profile.{profile}]" in manifest, f"Dockerfile: there is no profile {profile}")
    must(f"target/{profile}/solera" in text, f"Dockerfile: does not take what --profile {profile} makes")
    numbers = lambda version: [int(number) for number in version.split(".")]
    needed = re.search(r'^rust-version = "(.*)"$', manifest, re.M)[1]
    has = re.search(r"^ARG RUST_VERSION=(.*)$", text, re.M)[1]
    must(numbers(needed) <= numbers(has), f"Dockerfile: Rust {has}, and {needed} is needed")


def check_readme(program, projects):
    """The command lines that the documents give."""
    found = 0
    for file in (ROOT / "deploy/compose/README.md", ROOT / "docker-compose.yml"):
        for service, line in re.findall(r"docker compose exec (\S+) solera ([^`\n]+)", file.read_text()):
            found += 1
            must(service in projects["one broker"]["services"], f"{file.name}: there is no service {service}")
            check_command(file.name, program, line.split())
    must(0 < found, "deploy/compose/README.md: no command line was found")


def check_prometheus():
    promtool = os.environ.get("SOLERA_PROMTOOL") or CACHE / "promtool"
    if not os.access(promtool, os.X_OK):
        left_out.append("Prometheus' configuration: no promtool (scripts/promtool.sh)")
        return
    done = run(promtool, "check", "config", ROOT / "deploy/compose/prometheus.yml")
    must(done.returncode == 0, f"prometheus.yml: {done.stdout}{done.stderr}")


def kafka_jars():
    if os.environ.get("SOLERA_KAFKA") == "none":
        left_out.append("Kafka's own look at the brokers, as SOLERA_KAFKA=none asks")
        return None
    pom = (ROOT / "tests/kafka/pom.xml").read_text()
    version = re.search(r"<kafka.version>(.*)</kafka.version>", pom)[1]
    jars = Path(os.environ.get("SOLERA_KAFKA_JARS") or CACHE / f"kafka-{version}")
    if not (jars / "complete").exists():
        sys.exit(f"check-compose: no Kafka in {jars}: run scripts/kafka-fetch.sh, or leave it out with SOLERA_KAFKA=none")
    return jars


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PROGRAM")
    program = Path(sys.argv[1]).resolve()
    jars = kafka_jars()
    projects = {variant: load(files) for variant, files in VARIANTS.items()}
    brokers = 0
    for variant, project in projects.items():
        before = len(problems)
        check_ports(project)
        for name, service in project["services"].items():
            check_files(name, service)
            check_volumes(name, service, project)
            check_images(name, service)
            check_names(name, told(service), project)
            check_advertised(name, service)
            check_mirror(name, service)
            if service["image"] == OURS and not service.get("entrypoint"):
                check_command(name, program, words(service, "command"))
            if jars and "CLUSTER_ID" in service["environment"]:
                brokers += 1
                check_broker(name, service, jars)
        with tempfile.TemporaryDirectory() as scratch:
            for name, config in prepare(project, Path(scratch)).items():
                check_names(name, {"its configuration": config}, project)
                check_node(program, name, config, project, Path(scratch))
        problems[before:] = [f"with {variant}: {text}" for text in problems[before:]]
    check_dockerfile(program)
    check_readme(program, projects)
    check_prometheus()
    for text in problems:
        print(f"check-compose: {text}", file=sys.stderr)
    if problems:
        sys.exit(1)
    services = " and ".join(f"{len(project['services'])} services with {variant}" for variant, project in projects.items())
    print(f"docker-compose.yml: {services}; {brokers} brokers as Kafka sees them; all fits")
    for text in left_out:
        print(f"LEFT OUT: {text}")


main()
