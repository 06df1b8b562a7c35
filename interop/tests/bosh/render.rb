# Renders the templates of a BOSH job as a director does: `render.rb JOB OUT` takes the properties, links
# and id of an instance as JSON from standard input, and writes each template to its place below OUT.
require "erb"
require "fileutils"
require "json"
require "ostruct"
require "yaml"

# What a template sees.
class Instance
  attr_reader :spec

  def initialize(properties, defaults, links, id)
    @properties, @defaults, @links = properties, defaults, links
    @spec = OpenStruct.new(id: id)
  end

  def p(name)
    value = find(name)
    raise "no property #{name}" if value.nil?
    value
  end

  def if_p(name)
    value = find(name)
    yield value unless value.nil?
  end

  def if_link(name)
    link = @links[name]
    yield Instance.new(link, {}, {}, nil) if link
  end

  def render(template)
    ERB.new(template, trim_mode: "-").result(binding)
  end

  private

  def find(name)
    @properties.fetch(name) { @defaults[name] }
  end
end

job, out = ARGV
spec = YAML.safe_load(File.read("#{job}/spec"))
deployment = JSON.parse($stdin.read)
unknown = deployment["properties"].keys - spec["properties"].keys
raise "not in the spec: #{unknown.join(", ")}" unless unknown.empty?

defaults = spec["properties"].transform_values { |property| property["default"] }
instance = Instance.new(deployment["properties"], defaults, deployment["links"], deployment["id"])
spec["templates"].each do |template, place|
  path = "#{out}/#{place}"
  FileUtils.mkdir_p(File.dirname(path))
  File.write(path, instance.render(File.read("#{job}/templates/#{template}")))
end
